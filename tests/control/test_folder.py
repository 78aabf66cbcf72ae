import asyncio
import os
import time
from contextlib import asynccontextmanager

import pytest

from ambient.control import folder
from ambient.control.folder import Change
from ambient.core.errors import ConfigError


@asynccontextmanager
async def watching(root):
    seen = asyncio.Queue()

    async def follow():
        async for change in folder.watch(root):
            seen.put_nowait(change)

    task = asyncio.create_task(follow())
    try:
        yield lambda: asyncio.wait_for(seen.get(), 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_everything_then_each_change(tmp_path):
    (tmp_path / "a.yaml").write_text("1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yml").write_text("2")
    (tmp_path / "c.txt").write_text("3")
    (tmp_path / ".d.yaml").write_text("4")
    async with watching(tmp_path) as change:
        assert await change() == Change({"a.yaml": b"1", "sub/b.yml": b"2"})
        (tmp_path / "a.yaml").write_text("5")
        assert await change() == Change({"a.yaml": b"5"})
        (tmp_path / "a.yaml").unlink()
        assert await change() == Change({}, frozenset({"a.yaml"}))
        (tmp_path / "sub" / "b.yml").rename(tmp_path / "e.yaml")
        assert await change() == Change({"e.yaml": b"2"}, frozenset({"sub/b.yml"}))


async def test_a_change_is_seen_well_within_a_second(tmp_path):
    async with watching(tmp_path) as change:
        await change()
        began = time.monotonic()
        (tmp_path / "a.yaml").write_text("1")
        await change()
        assert time.monotonic() - began < 0.6


async def test_a_file_of_the_same_size_and_time_is_seen_to_change(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("1")
    before = file.stat()
    async with watching(tmp_path) as change:
        await change()
        file.write_text("2")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert await change() == Change({"a.yaml": b"2"})


async def test_a_file_that_is_being_written_is_read_when_it_stands_still(tmp_path):
    async with watching(tmp_path) as change:
        await change()
        with (tmp_path / "a.yaml").open("w") as file:
            for _ in range(20):
                file.write("x")
                file.flush()
                await asyncio.sleep(0.03)
        assert await change() == Change({"a.yaml": b"x" * 20})


async def test_a_file_that_is_replaced_was_never_gone(tmp_path):
    (tmp_path / "a.yaml").write_text("1")
    async with watching(tmp_path) as change:
        await change()
        (tmp_path / "new").write_text("2")
        (tmp_path / "new").rename(tmp_path / "a.yaml")
        assert await change() == Change({"a.yaml": b"2"})


async def test_links_are_followed_as_in_a_mounted_config_map(tmp_path):
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with watching(tmp_path) as change:
        assert await change() == Change({"a.yaml": b"1"})
        (tmp_path / "next").symlink_to("..2")
        (tmp_path / "next").rename(tmp_path / "..data")
        assert await change() == Change({"a.yaml": b"2"})


async def test_a_folder_that_goes_away_and_comes_back(tmp_path):
    root = tmp_path / "config"
    root.mkdir()
    (root / "a.yaml").write_text("1")
    async with watching(root) as change:
        await change()
        root.rename(tmp_path / "away")
        assert (await change()).trouble == f"--config {root} cannot be read: No such file or directory"
        (tmp_path / "away").rename(root)
        assert await change() == Change()


async def test_no_folder_at_the_start_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as a folder: No such file"):
        await anext(folder.watch(tmp_path / "none"))
