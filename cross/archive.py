"""Archives that are the same bytes whoever makes them: sorted, all owned by root,
all of one time. They are plain ustar, which busybox unpacks as well."""

import gzip
import io
import tarfile


def pack(folder, files, seconds):
    """A .tar.gz with one folder of files, given as name -> (bytes, mode); `seconds`
    since 1970 is the time of all of them."""
    packed = io.BytesIO()
    # Neither a file name nor a time in the head of gzip.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as compressed, \
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        top = tarfile.TarInfo(folder)
        top.type, top.mode, top.mtime = tarfile.DIRTYPE, 0o755, seconds
        archive.addfile(top)
        for name, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), mode, seconds
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
