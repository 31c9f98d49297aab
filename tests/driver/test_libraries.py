"""The archive of NVIDIA's libraries is the one that the machine's own sources of packages name."""

from driver import libraries

DEB822 = """\
# Written by the installer
Types: deb deb-src
URIs: http://first.example.org/debian https://second.example.org/debian
# Two of them
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEZ
 -----END PGP PUBLIC KEY BLOCK-----


Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://vendor.example.org
Suites: ./
"""
ONE_LINE = """\
# deb http://commented.example.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/ours.gpg] http://mirror.example.org/debian bookworm contrib main # ours
deb http://plain.example.org/debian/ bookworm-updates main
deb-src http://source.example.org/debian bookworm main
deb http://vendor.example.org/ ./
deb http://other.example.org/debian bookworm non-free
"""


def test_a_source_keeps_where_it_leads_its_options_and_its_key():
    lines, stanzas = libraries.sources(ONE_LINE, DEB822)
    suites = libraries.SUITES.split()
    options = "[arch=amd64 signed-by=/usr/share/keyrings/ours.gpg] "
    assert lines.splitlines() == [
        *(f"deb {options}http://mirror.example.org/debian {suite} non-free" for suite in suites),
        *(f"deb http://plain.example.org/debian/ {suite} non-free" for suite in suites),
    ]
    assert stanzas == (
        "Types: deb\n"
        "URIs: http://first.example.org/debian https://second.example.org/debian\n"
        f"Suites: {libraries.SUITES}\n"
        "Components: non-free\n"
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZ\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )


def test_a_machine_without_such_sources_leads_nowhere():
    assert libraries.sources("", "") == ("", "")
