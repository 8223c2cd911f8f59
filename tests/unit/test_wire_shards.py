"""Shards keep records in files of a folder or of ConfigMap volumes."""

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.wire import blob, noise, records
from swarm_wire.records import Bounds, Record, Sealed
from swarm_wire.shards import SHARD_BYTES, CorruptShard, headers, pack, read_folder, unpack


@settings(max_examples=60, deadline=None)
@given(st.lists(records(), max_size=8), st.sampled_from([1, 5000, 30_000, SHARD_BYTES]))
def test_shards_hold_records_in_order_within_their_size_limit(put: list[Record], limit: int) -> None:
    shards = pack(put, limit)
    kept = [list(unpack(shard)) for shard in shards]
    assert [record for shard in kept for record in shard] == put
    assert all(len(shard) <= limit or len(inside) == 1 for shard, inside in zip(shards, kept, strict=True))
    assert all(shards)


def test_a_shard_is_filled_before_the_next_begins() -> None:
    assert len(pack([blob(noise(1000, number)) for number in range(100)], 50_000)) == 3


def test_a_full_shard_fits_into_a_config_map() -> None:
    assert SHARD_BYTES * 4 / 3 < 900 * 1024


def test_a_shard_that_is_cut_at_any_byte_yields_its_complete_records_and_then_raises() -> None:
    put = [blob(b"x" * number, key=str(number)) for number in range(3)]
    [shard] = pack(put)
    ends = {len(b"".join(pack(put[:number]))): number for number in range(4)}
    for length in range(len(shard) + 1):
        found: list[Record] = []
        if length in ends:
            found.extend(unpack(shard[:length]))
        else:
            with pytest.raises(CorruptShard):
                found.extend(unpack(shard[:length]))
        whole = put[: max(number for end, number in ends.items() if end <= length)]
        assert found == whole, length
        assert list(unpack(shard[:length], growing=True)) == whole, length


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_altered_shard_never_yields_an_altered_record(data: st.DataObject) -> None:
    put = [blob(noise(200, number), key=str(number)) for number in range(3)]
    [shard] = pack(put)
    position = data.draw(st.integers(0, len(shard) - 1))
    altered = bytearray(shard)
    altered[position] ^= data.draw(st.integers(1, 255))
    found: list[Record] = []
    try:
        for record in unpack(bytes(altered)):
            found.append(record)
    except CorruptShard:
        pass
    assert all(record in put for record in found)
    assert len(found) < 3 or found == put


def test_the_reader_of_a_shard_that_still_grows_refuses_an_impossible_record() -> None:
    with pytest.raises(CorruptShard):
        list(unpack(b"\0\0\0\4junk", growing=True))


@given(st.binary(min_size=1, max_size=60))
def test_random_bytes_are_not_a_shard(junk: bytes) -> None:
    with pytest.raises(CorruptShard):
        list(unpack(junk))


def write(path: Path, *put: Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pack(put)))


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/0.shard", "a/10.shard", "a/02.shard", "0.shard"):
        write(tmp_path / name, blob(name.encode()))
    (tmp_path / "a" / "notes.txt").write_text("no shard")
    (tmp_path / "a" / "x.shard.tmp").write_text("no shard")
    assert [record.body for record in read_folder(tmp_path)] == [
        b"0.shard",
        b"a/02.shard",
        b"a/10.shard",
        b"b/0.shard",
    ]


def volume(folder: Path, **keys: Record) -> None:
    """Lays out a ConfigMap volume as the kubelet does: `..data` links to a dated folder, and files link to `..data`."""
    dated = folder / "..2026_11_21_08_00_00.123456789"
    for path, record in keys.items():
        write(dated / f"{path.replace('__', '/')}.shard", record)
    (folder / "..data").symlink_to(dated.name)
    for entry in dated.iterdir():
        (folder / entry.name).symlink_to(f"..data/{entry.name}")


def test_each_file_of_a_config_map_volume_is_read_only_once(tmp_path: Path) -> None:
    volume(tmp_path / "0", a=blob(b"0a"), b=blob(b"0b"))
    volume(tmp_path / "1", a=blob(b"1a"))
    assert [record.body for record in read_folder(tmp_path)] == [b"0a", b"0b", b"1a"]


def test_each_file_of_a_projected_volume_with_subfolders_is_read_only_once(tmp_path: Path) -> None:
    volume(tmp_path, map0__a=blob(b"0a"), map0__b=blob(b"0b"), map1__a=blob(b"1a"))
    assert [record.body for record in read_folder(tmp_path)] == [b"0a", b"0b", b"1a"]


def test_a_missing_folder_counts_as_empty(tmp_path: Path) -> None:
    assert list(read_folder(tmp_path / "none")) == []


def test_a_file_that_is_cut_short_makes_the_read_of_its_folder_fail(tmp_path: Path) -> None:
    write(tmp_path / "a.shard", blob(b"whole"))
    (tmp_path / "b.shard").write_bytes(pack([blob(b"torn")])[0][:-1])
    with pytest.raises(CorruptShard, match="cut short at byte 0"):
        list(read_folder(tmp_path))


def test_headers_are_read_without_their_bodies() -> None:
    put = [blob(bytes(60_000_000), key="a"), blob(noise(100_000), key="b")]
    [shard] = pack(put)
    assert len(shard) < SHARD_BYTES
    tracemalloc.start()
    try:
        found = list(headers(shard))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert [record.header for record in found] == [record.header for record in put]
    assert [record.frame() for record in found] == [record.frame() for record in put]


def test_records_with_long_headers_are_spread_over_several_shards() -> None:
    long = [blob(key="x" * 200_000, number=number).frame() for number in range(100)]
    sealed = [Sealed.from_frame(frame, Bounds(headers=100_000_000)) for frame in long]
    shards = pack(sealed)
    assert len(shards) == 3
    assert [record.header for shard in shards for record in headers(shard)] == [record.header for record in sealed]
    with pytest.raises(CorruptShard):
        list(headers(b"".join(shards)))
