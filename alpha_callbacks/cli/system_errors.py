"""What the system refuses, as one line: the path, why, and what to do."""

import errno

_REMEDIES = {
    errno.ENOSPC: "What is whole stays. Free some space and give the command again.",
    errno.EDQUOT: "What is whole stays. Free some space and give the command again.",
    errno.EACCES: "Give another folder, or see to it that it may be read and written.",
    errno.EPERM: "Give another folder, or see to it that it may be read and written.",
    errno.EROFS: "Give another folder.",
    errno.ENOTDIR: "Expected a folder, and a part of this path is a file. Give another one.",
    errno.EEXIST: "Expected a folder, or nothing of this name. Give another one.",
    errno.EISDIR: "Expected a file, and it is a folder. Give another one.",
    errno.ENAMETOOLONG: "Give a shorter one.",
}


def line_of(error: OSError) -> str:
    """Return the line for an error of the system.

    Examples:
        >>> line_of(OSError(errno.ENOSPC, "No space left on device", "out/compare.html"))
        'out/compare.html: No space left on device. What is whole stays. Free some space and give the command again.'
        >>> line_of(OSError("a text of a library"))
        'a text of a library'
    """
    path = error.filename2 or error.filename  # the second is where something should have gone
    if path is None or error.errno is None:
        return str(error)
    return f"{path}: {error.strerror}. {_REMEDIES.get(error.errno, '')}".rstrip()
