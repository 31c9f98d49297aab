"""What is shown of a snapshot: complete, in words, and never able to be mistaken for anything else."""

import dataclasses
import html.parser
import json
import re

import pytest
from fakes import snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from openshell_kernel.base.hardware import Gpu, Hardware, Status
from openshell_kernel.kernel import policy_file, snapshot
from openshell_kernel.kernel.views import as_html, as_text
from openshell_kernel.kernel.views.view import VISIBLE_ROWS, build, meaning
from openshell_kernel.policy import loading
from openshell_kernel.policy.effective import (
    DEVICE_RIGHTS,
    PROC_READ_RIGHTS,
    PROC_WRITE_RIGHTS,
    READ_RIGHTS,
    WRITE_RIGHTS,
    Access,
    Compatibility,
    Origin,
    Promotion,
    Skipped,
    Unenforced,
)
from openshell_kernel.policy.explain import Exposure, why
from openshell_kernel.policy.sources import Source, SourceKind
from openshell_kernel.sandbox.report import LayerReport, LayerStatus

HOSTILE = (
    "</style></td><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "\x1b[2J\x1b]0;title\x07",
    "\nNot enforced\n",
    "\u202egnp.exe",
    "\udcff",
    "\U0001d518 ä 漢",
)
TAGS = {"style", "div", "span", "b", "code", "table", "tbody", "tr", "td", "details", "summary", "pre"}
ATTRIBUTES = {"class", "title"}
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))


class Page(html.parser.HTMLParser):
    """What a browser would make of the HTML: its elements, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), set(), "", []
        self.folded, self.tooltips, self.classes = "", [], set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.classes.update(*(value.split() for name, value in attrs if name == "class"))
        self.tooltips += [value for name, value in attrs if name == "title"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if "details" in self.open and "summary" not in self.open:
            self.folded += data


def make(record=None):
    return snapshot.parse(json.dumps(record or snapshots.record()).encode())


def show(record=None, exposed=(), *, verbose=False):
    """Both renderings of a record."""
    value = make(record)
    text = as_text.render(value, exposed, verbose=verbose)
    return Page(as_html.render(value, exposed, verbose=verbose)), " ".join(text.split())


@pytest.mark.parametrize(
    "wanted",
    [
        "Enforced",
        "Landlock ABI 7 on Linux 6.18.44",
        "Filesystem rules",
        "no_new_privs",
        "/home/ada/.config/openshell/policy.yaml, hard_requirement",
        "recorded at launch",
        "2 GPUs, driver 580.65.06, CUDA 13.0",
        "NVIDIA H100 80GB HBM3",
        "79.65 GiB",
        "/dev/nvidia1",
        "The policy lists it read-only. The GPU baseline made it read-write.",
        "Landlock rights there: read_file read_dir write_file truncate.",
        "The GPU baseline needs it read-write. The policy lists it read-only, and that holds.",
        "hooks that are written there run outside the sandbox",
        "read, write, create, delete, run",
        "the notebook's folder, because the policy says include_workdir",
        "/opt/python/lib/part39",
        "network_policies",
        "Hosts and programs are not filtered",
        "/dev/dxg",
        "No such file or directory",
        "proves nothing",
    ],
)
def test_everything_that_was_decided_is_shown(wanted):
    page, text = show()
    assert wanted in page.text
    assert wanted in text


def test_the_readers_questions_come_first_then_the_layers_then_the_rules():
    for shown in (show()[0].text, show()[1]):
        assert shown.index("May write") < shown.index("May read") < shown.index("Layers")
        assert (
            shown.index("Layers") < shown.index("Read-write") < shown.index("Read-only") < shown.index("Not enforced")
        )


def test_a_kernel_that_is_not_confined_says_so_first_and_why():
    page, text = show(snapshots.unenforced())
    for shown in (page.text, text):
        assert "NOT enforced" in shown[:120]
        assert "This kernel was built without Landlock." in shown
        assert "Nothing below restricts this kernel" in shown
    assert "[x]" not in text


def test_a_protection_that_is_missing_is_shown_as_missing():
    missing = snapshots.layer("keeper", LayerStatus.ABSENT, detail="processes cannot be watched here")
    title = missing.title
    page, text = show(snapshots.record(layers=(snapshots.layer("landlock"), missing)))
    assert f"{title} (missing)" in page.text
    for shown in (" ".join(page.text.split()), text):
        assert "1 of 2" in shown
        assert "processes cannot be watched here" in shown.lower()


def test_a_protection_that_holds_in_part_is_shown_so():
    part = snapshots.layer("capabilities", LayerStatus.DEGRADED, detail="one is left")
    page, text = show(snapshots.record(layers=(snapshots.layer("landlock"), part)))
    assert f"{part.title} (in part)" in page.text
    for shown in (" ".join(page.text.split()), text):
        assert "1 of 2" in shown
        assert "one is left" in shown.lower()


def test_every_further_layer_is_shown_with_what_it_covers_or_why_it_is_not_active():
    page, text = show(verbose=True)
    assert f"{snapshots.OPEN_TUNABLES.title} (missing)" in page.text
    for shown in (" ".join(page.text.split()), text):
        assert "the operator lets /proc be written as root" in shown
        assert "none is left, and none can be regained" in shown


def test_exact_rights_are_in_the_tooltip():
    assert "Landlock rights: read_file read_dir write_file truncate" in show()[0].tooltips


def test_the_runtime_baseline_is_folded_and_counted_and_the_policy_is_not():
    page, _ = show()
    assert "runtime baseline 40" in page.text
    assert "/opt/python/lib/part00" in page.folded
    assert "/data/imagenet" not in page.folded
    assert "read, write existing files" not in page.folded


@pytest.mark.parametrize("origin", [Origin.POLICY, Origin.WORKDIR])
def test_what_was_asked_for_and_not_granted_is_not_folded(origin):
    skipped = Skipped(path="/home/ada", access=Access.READ_WRITE, origin=origin, why="it is the home folder")
    page, text = show(snapshots.record(snapshots.effective(skipped=(skipped,))))
    assert "Not granted /home/ada It is the home folder." in page.text
    assert "It is the home folder" not in page.folded
    assert "Not granted /home/ada: It is the home folder." in text


def test_a_long_policy_is_folded_behind_its_first_rows():
    rules = [snapshots.rule(f"/data/{i:03}") for i in range(256)]
    page, _ = show(snapshots.record(snapshots.effective(*rules)))
    assert f"more {256 - VISIBLE_ROWS}" in page.text
    assert "/data/255" in page.folded
    assert "/data/000" not in page.folded


def test_without_a_gpu_the_reason_stands_in_its_place():
    page, text = show(snapshots.record(snapshots.effective()))
    assert "None: no NVIDIA driver library was found" in page.text
    assert "None: no NVIDIA driver library was found" in text


def test_a_gpu_of_which_nothing_is_known_is_still_listed():
    gpu = Gpu(index=3, minor=None, uuid=None, name=None, memory=None, pci_address=None)
    hardware = Hardware(status=Status.OK, detail="", gpus=(gpu,))
    page, _ = show(snapshots.record(snapshots.effective(hardware=hardware)))
    assert "3: unnamed GPU" in page.text
    assert "None" not in page.text


def test_a_rule_that_bound_to_another_place_shows_it():
    policy = snapshots.effective(snapshots.rule("/link"))
    page, text = show(snapshots.record(policy, rules=(policy.rules[0]._replace(resolved="/real"),)))
    assert "→ /real" in page.text
    assert "/link -> /real" in text


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (READ_RIGHTS, "read, run"),
        (WRITE_RIGHTS, "read, write, create, delete, run"),
        (DEVICE_RIGHTS, "read, write, control"),
        (PROC_READ_RIGHTS, "read"),
        (PROC_WRITE_RIGHTS, "read, write existing files"),
        (("read_file",), "read"),
        (("read_dir",), "list"),
        (("read_file", "write_file"), "read, write"),
        ((), "nothing"),
    ],
)
def test_rights_are_put_into_words(rights, words):
    assert meaning(rights) == words


def test_every_style_is_confined_to_the_view():
    sheet = as_html.render(make()).partition("</style>")[0].partition("<style>")[2]
    sheet = re.sub(r"@container \([^)]*\) \{", "", sheet)
    selectors = [part.partition("{")[0] for part in sheet.split("}") if "{" in part]
    assert len(selectors) > 20
    assert all(one.strip().startswith(".oshk") for selector in selectors for one in selector.split(","))
    assert "url(" not in sheet
    assert "@import" not in sheet


@settings(max_examples=50)
@given(st.data())
def test_nothing_that_a_snapshot_holds_can_become_markup_or_terminal_commands(data):
    """Whatever the strings: only our elements, properly nested, and only printable text."""

    def text():
        return data.draw(TEXT)

    access = st.sampled_from(Access)
    origins = st.sampled_from(Origin)
    rules = tuple(
        snapshots.rule("/" + text().replace("\0", ""), data.draw(access), data.draw(origins), text()) for _ in range(3)
    )
    policy = snapshots.effective(
        *rules,
        source=text(),
        compatibility=data.draw(st.sampled_from(Compatibility)),
        promotions=(Promotion(path=text(), origin=data.draw(origins), reason=text()),),
        unenforced=(Unenforced(what=text(), why=text()),),
        notices=(text(),),
        hardware=Hardware(
            status=data.draw(st.sampled_from(Status)),
            detail=text(),
            driver_version=text(),
            gpus=(Gpu(index=0, minor=0, uuid=text(), name=text(), memory=1, pci_address=text()),),
        ),
    )
    problem = text()
    record = snapshots.record(
        policy,
        release=text(),
        rules=(
            snapshots.applied(rules[0], problem),
            *(snapshots.applied(rule)._replace(resolved=text()) for rule in rules[1:]),
        ),
        layers=tuple(
            LayerReport(
                name, text(), data.draw(st.sampled_from(LayerStatus)), text(), text(), (Unenforced(text(), text()),)
            )
            for name in ("landlock", text())
        ),
    )
    record["kernel"] = {"started": text(), "python": text(), "workdir": text()}
    value = make(record)
    page = Page(as_html.render(value))
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert page.open == []
    assert page.text.isprintable()
    lines = as_text.render(value).splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines.count("Not enforced") == 1
    assert all(line.isprintable() for line in policy_file.render(value).splitlines())


def test_a_path_is_shown_exactly():
    page, text = show(snapshots.record(snapshots.effective(snapshots.rule("/a <b>&amp; 'c'"))))
    assert "/a <b>&amp; 'c'" in page.text
    assert "/a <b>&amp; 'c'" in text


def explained(value, path, notes=()):
    """Both renderings of what is said about a path."""
    verdicts = why(value.effective, str(path))
    return Page(as_html.render_why(value, verdicts, notes)), as_text.render_why(value, verdicts, notes)


def test_the_explanation_of_a_path_names_rule_and_remedy(tmp_path):
    value = make(snapshots.record(snapshots.effective(snapshots.rule(str(tmp_path)))))
    page, text = explained(value, tmp_path)
    for shown in (page.text, " ".join(text.split())):
        assert f"by {tmp_path} (read-only, policy), listed in the policy." in shown
        assert "/home/ada/.config/openshell/policy.yaml" in shown
        assert f"read_write: [{tmp_path}]" in shown
        assert "NOT enforced" not in shown
    assert f"    filesystem_policy:\n      read_write: [{tmp_path}]\n" in text
    assert re.findall(r"^  (\w+) +(allowed|refused) ", text, re.MULTILINE) == [
        ("read", "allowed"),
        ("write", "refused"),
        ("run", "allowed"),
    ]


def test_an_explanation_has_one_block_of_yaml_and_few_lines():
    page, text = explained(make(snapshots.record(snapshots.effective())), "/srv")
    assert len(text.splitlines()) <= 12
    assert text.count("filesystem_policy:") == 1
    assert page.tags & {"pre"}
    assert "read_only: [/srv]" in text
    assert "#read_write: [/srv]" in text


def test_what_an_explanation_proposes_is_a_policy(tmp_path):
    policy = snapshots.effective(snapshots.rule(str(tmp_path)))
    _, text = explained(make(snapshots.record(policy)), tmp_path)
    block = "\n".join(re.findall(r"^    (filesystem_policy:|  #?read_.*)$", text, re.MULTILINE))
    assert loading.parse(f"version: 1\n{block}\n", name="p").filesystem_policy.read_write == (str(tmp_path),)


def test_nobody_is_told_to_edit_the_built_in_policy(tmp_path):
    source = Source(kind=SourceKind.BUILT_IN, path="/opt/package/default.yaml").describe()
    value = make(snapshots.record(snapshots.effective(source=source)))
    for shown in (*show(snapshots.record(snapshots.effective(source=source))), *explained(value, tmp_path)):
        assert "default.yaml" not in (shown if isinstance(shown, str) else shown.text)
    assert "~/.config/openshell/policy.yaml" in explained(value, tmp_path)[1]


def test_the_explanation_says_when_nothing_is_enforced(tmp_path):
    page, text = explained(make(snapshots.unenforced()), tmp_path)
    for shown in (page.text, text):
        assert shown.strip().startswith("NOT enforced: This kernel was built without Landlock")


EXPOSED = (Exposure(path="/home/ada/.ssh", access=Access.READ_ONLY, why="it lies in /home/ada/.ssh, credentials"),)


def test_what_the_policy_exposes_changes_the_headline_and_stands_beneath_it():
    page, text = show(exposed=EXPOSED)
    for shown in (page.text, text):
        assert shown.index("Enforced, but") < shown.index("May read /home/ada/.ssh") < shown.index("May write")
    assert "exposed" in page.classes
    assert "exposed" not in show()[0].classes


def test_a_policy_that_opens_everything_has_a_headline_of_its_own():
    root = Exposure(path="/", access=Access.READ_ONLY, why="it is the root of the file system")
    assert build(make(), (root,)).status != build(make(), EXPOSED).status != build(make()).status


def test_what_is_not_granted_is_no_alarm():
    skipped = Skipped(path="/home/ada", access=Access.READ_WRITE, origin=Origin.WORKDIR, why="it is the home folder")
    page, _ = show(snapshots.record(snapshots.effective(skipped=(skipped,))))
    assert not page.classes & {"exposed", "bad", "door", "open"}


def answer(question, record=None):
    return {item.question: item.text for item in build(make(record)).answers}[question]


def test_the_answers_name_what_was_asked_for_and_count_the_rest():
    assert answer("May write").startswith(
        "/home/ada/projects/vision (its folder), /tmp, /proc (existing files), 3 paths"
    )
    assert "/data/imagenet" in answer("May read")
    assert "40 paths" in answer("May read")


def test_what_cannot_be_seen_names_no_folder_that_a_rule_opens():
    record = snapshots.record(snapshots.effective(snapshots.rule("/data")))
    record["guarded"] = {"home": "/home/ada", "places": []}
    assert "/home/ada" in answer("Cannot see", record)
    assert "/tmp" in answer("Cannot see", record)
    record = snapshots.record(snapshots.effective(snapshots.rule("/home"), snapshots.rule("/tmp")))
    record["guarded"] = {"home": "/home/ada", "places": []}
    assert "/home/ada" not in answer("Cannot see", record)
    assert "/tmp" not in answer("Cannot see", record)


def test_where_the_policy_opens_everything_nothing_is_said_to_be_hidden():
    assert "other files" not in answer("Cannot see", snapshots.record(snapshots.effective(snapshots.rule("/"))))


def test_no_answer_claims_what_is_not_enforced():
    said = " ".join(item.text for item in build(make(snapshots.unenforced())).answers)
    assert "/home/ada" not in said
    assert "that its account may" in said


def test_a_view_can_be_built_of_any_policy_the_enrichment_may_yield():
    value = make()
    empty = dataclasses.replace(value, effective=snapshots.effective())
    assert [section.count for section in build(empty).sections] == [0, 0]


def test_what_is_wide_open_stands_in_the_headline_and_not_in_the_list_below():
    door = Unenforced(what="the browser", why="an output acts there", wide_open=True)
    record = snapshots.record(snapshots.effective(snapshots.rule("/data"), unenforced=(door,)), layers=[])
    shown = build(make(record))
    assert [(item.subject, item.text) for item in shown.wide_open] == [("the browser", "An output acts there.")]
    assert shown.unenforced == ()
    page, text = show(record)
    for seen in (page.text, text):
        assert seen.index("Wide open: the browser") < seen.index("May write")
        assert "An output acts there." in seen
    assert "open" in page.classes
