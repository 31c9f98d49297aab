"""Code for a kernel: `use(path)` opens a device node, speaks ioctl to it and returns the name of the error."""

USE = """
import errno, fcntl, json, os, termios

def use(path):
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        return errno.errorcode[error.errno]
    try:
        fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(fd)
"""
