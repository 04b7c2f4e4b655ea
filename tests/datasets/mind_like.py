"""Files in MIND's form with words of our own, and zip files of them."""

from __future__ import annotations

import io
import zipfile

FILES = ("news.tsv", "behaviors.tsv", "entity_embedding.vec", "relation_embedding.vec")
ENTITY = '[{"Label": "Quoll", "Type": "C", "WikidataId": "Q9", "OccurrenceOffsets": [0], "SurfaceForms": ["Quoll"]}]'


def split_files(split, rows=3):
    """Return the four files of a split, as bytes by name; `rows` news and one impression less."""
    news = [
        f"X{k}\tpets\tquolls\tQuoll {k} of {split}\tIt naps.\thttps://a.test/{k}\t{ENTITY}\t[]" for k in range(rows)
    ]
    log = [f"{k}\tU{k}\t3/1/2031 9:0{k}:00 AM\tX0 X1\tX1-1 X2-0" for k in range(rows - 1)]
    vectors = "Q9\t" + "\t".join(["0.5"] * 100) + "\t\n"
    tables = ("".join(line + "\n" for line in lines) for lines in (news, log))
    return {name: text.encode() for name, text in zip(FILES, (*tables, vectors, vectors), strict=True)}


def facts(files):
    """Return what `mind_files.yaml` would say of a split's files."""
    return {
        name: {"bytes": len(content)} | ({"rows": content.count(b"\n")} if name.endswith(".tsv") else {})
        for name, content in files.items()
    }


def zipped(files):
    """Return a zip file, as bytes, which are the same at any time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write(folder, files):
    """Write files, whose names may have folders; return the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def within(folder, files):
    """Return the files with a folder before their names."""
    return {f"{folder}/{name}": content for name, content in files.items()}


def read(folder):
    """Return all files under a folder, as bytes by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


TRAIN, DEV = split_files("train", 9), split_files("dev", 6)
BOTH = within("train", TRAIN) | within("dev", DEV)
