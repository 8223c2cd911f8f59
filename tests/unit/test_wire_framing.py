"""A damaged output of a pod yields a subset of its records, and never an altered record."""

import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.wire import NONCE, Damage, blob, damages, noise, printed, records
from swarm_wire import records as wire
from swarm_wire.pod_output import Reader, Writer, read
from swarm_wire.records import MAX_FRAME, Record, RecordKind, RecordTooLarge, frame_digest

quick = settings(max_examples=60, deadline=None)


# --- undamaged ---------------------------------------------------------------------------------------------------


@quick
@given(st.lists(records(), max_size=5))
def test_records_are_read_back_in_order(put: list[Record]) -> None:
    lines, commit = printed(put)
    transcript = read(lines, NONCE)
    assert transcript.records == dict(enumerate(put))
    assert transcript.damaged == 0
    assert transcript.complete(commit)


@quick
@given(st.lists(records(), max_size=4), st.lists(st.text(max_size=60), max_size=8), st.integers(0, 99))
def test_user_output_and_repeated_or_reordered_lines_do_not_change_the_records_that_are_read(
    put: list[Record], texts: list[str], seed: int
) -> None:
    lines, commit = printed(put)
    lines = [*lines, *lines, *(text + "\n" for text in texts)]
    random.Random(seed).shuffle(lines)
    transcript = read(lines, NONCE)
    assert transcript.records == dict(enumerate(put))
    assert transcript.complete(commit)


@quick
@given(st.lists(records(), max_size=3), st.lists(records(), max_size=3), st.integers(0, 99))
def test_records_of_writers_with_different_nonces_do_not_mix(
    ours: list[Record], theirs: list[Record], seed: int
) -> None:
    our_lines, our_commit = printed(ours)
    their_lines, their_commit = printed(theirs, "ffffffffffffffff")
    lines = our_lines + their_lines
    random.Random(seed).shuffle(lines)
    assert read(lines, NONCE).records == dict(enumerate(ours))
    assert read(lines, NONCE).complete(our_commit)
    assert read(lines, "ffffffffffffffff").complete(their_commit)


@pytest.mark.parametrize("size", [0, 1, 8_900, 8_999, 9_000, 9_001, 18_000, 300_000])
def test_every_printed_line_is_ascii_and_too_short_for_a_container_runtime_to_split(size: int) -> None:
    lines, _ = printed([blob(noise(size))], "x" * 64)
    assert all(line.isascii() and len(line) < 16 * 1024 and line.endswith("\n") for line in lines)


@pytest.mark.parametrize(
    ("case", "around"),
    [
        ("carriage return", lambda line: line.rstrip("\n") + "\r\n"),
        ("no newline at the end of a log", lambda line: line.rstrip("\n")),
        ("behind a progress bar that a runtime split", lambda line: "\r 10%|#    | 1/10" + line),
        ("behind the beginning of itself", lambda line: line[: len(line) // 2] + line),
        ("behind a forged beginning", lambda line: "swarm/1 ffffffffffffffff 0 1/1 5 " + line),
    ],
)
def test_a_record_is_found_inside_the_log_format_of_any_container_runtime(
    case: str, around: Callable[[str], str]
) -> None:
    put = [blob(b"first", key="a"), blob(noise(30_000), key="b")]
    lines, commit = printed(put)
    assert read(map(around, lines), NONCE).complete(commit), case


def test_a_truncated_line_does_not_hide_a_later_complete_line() -> None:
    lines, commit = printed([blob(noise(30_000))])
    for line in lines:
        assert read([line[: len(line) // 2], *lines], NONCE).complete(commit)
    assert not read([line[: len(line) // 2] for line in lines], NONCE).records


def test_several_threads_can_use_one_writer() -> None:
    from concurrent.futures import ThreadPoolExecutor

    lines: list[bytes] = []
    writer = Writer(lines.append, NONCE)
    put = [blob(noise(15_000, number), number=number) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(writer.put, put))
    transcript = read([line.decode() for line in lines], NONCE)
    assert transcript.complete(writer.commit(0))
    by_number = {record.header["number"]: record for record in transcript.records.values()}
    assert [by_number[number] for number in range(40)] == put
    assert transcript.records[0].header["number"] in range(40)


def test_a_reader_reports_which_line_completed_a_record() -> None:
    put = [blob(noise(20_000)), blob(b"second")]
    lines, _ = printed(put)
    reader = Reader(NONCE)
    told = [reader.feed(line) for line in lines]
    assert [record for record in told if record] == put
    assert told[0] is None, "a part of a record is not a record"
    assert reader.feed(lines[-1]) is None, "a repetition is no new record"


# --- damaged -----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(records(), max_size=4), st.lists(damages(), min_size=1, max_size=4))
def test_a_damaged_output_yields_a_subset_of_its_records(put: list[Record], done: list[Damage]) -> None:
    lines, commit = printed(put)
    for damage in done:
        lines = damage(lines)
    transcript = read(lines, NONCE)
    assert transcript.records.items() <= dict(enumerate(put)).items()
    assert transcript.complete(commit) == (len(transcript.records) == len(put))


def test_an_output_that_is_cut_at_any_byte_keeps_every_complete_record() -> None:
    put = [blob(b"x" * number, key=str(number)) for number in range(3)]
    lines, commit = printed(put)
    output, ends = "".join(lines), [len("".join(lines[: number + 1])) - 1 for number in range(3)]
    for length in range(len(output)):
        transcript = read(output[:length].splitlines(), NONCE)
        whole = sum(end <= length for end in ends)
        assert transcript.records == dict(enumerate(put[:whole])), length
        assert transcript.complete(commit) == (whole == 3)


@quick
@given(st.binary(max_size=300))
def test_the_reader_skips_bytes_that_are_not_text(junk: bytes) -> None:
    lines, commit = printed([blob(b"body")])
    output = junk + b"\n" + lines[0].encode() + junk
    assert read(output.decode("utf-8", "replace").split("\n"), NONCE).records.items() <= {0: blob(b"body")}.items()
    assert read((junk + b"\n" + lines[0].encode()).decode("ascii", "replace").split("\n"), NONCE).complete(commit)


def test_the_reader_skips_a_line_of_many_megabytes() -> None:
    lines, commit = printed([blob(b"body")])
    assert read(["x" * 20_000_000, lines[0], lines[0].rstrip() + "A" * 20_000_000], NONCE).complete(commit)


FRAME = blob(b"body").frame()


def line(
    frame: bytes = FRAME,
    *,
    nonce: str = NONCE,
    version: str = "1",
    sequence: str = "0",
    part: str = "1/1",
    length: int | None = None,
    digest: str | None = None,
    payload: str | None = None,
) -> str:
    import base64

    head = f"swarm/{version} {nonce} {sequence} {part} {len(frame) if length is None else length}"
    text = base64.b64encode(frame).decode() if payload is None else payload
    return f"{head} {digest or frame_digest(frame)} {text}"


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (line(nonce="ffffffffffffffff"), "another nonce"),
        (line(nonce=NONCE[:-1]), "a shorter nonce"),
        (line(nonce=NONCE + "0"), "a longer nonce"),
        (line(version="2"), "another version"),
        (line(digest="0" * 32), "another digest"),
        (line(length=len(FRAME) + 1), "another length"),
        (line(length=0, payload=""), "nothing"),
        (line(length=MAX_FRAME + 3), "a length beyond all bounds"),
        (line(part="0/1"), "part 0"),
        (line(part="2/1"), "a part beyond the last"),
        (line(part="1/2"), "more parts than the length needs"),
        (line(part="1/999999", length=999_999_999), "very many parts"),
        (line(sequence="-1"), "a negative sequence number"),
        (line(sequence="1234567890"), "a sequence number beyond all bounds"),
        (line(sequence="٣"), "digits of another script"),
        (line(payload="!" * 40), "a payload that is no base64"),
        (line() + " more", "text behind the payload"),
        (line(b"no frame"), "a frame that cannot be inflated"),
        (line(zlib.compress(b"\0\0\0\xffshort")), "a header longer than its frame"),
        (line(zlib.compress(b"")), "an empty frame"),
        (line(FRAME[:-3]), "a frame cut short"),
        (line(FRAME + b"more"), "a frame with something behind it"),
        *(
            (line(zlib.compress(len(header).to_bytes(4, "big") + header)), f"the header {header[:30]!r}")
            for header in [
                b"",
                b"{}",
                b"[1]",
                b'["record"]',
                b"null",
                b'"record"',
                b'{"record":"unknown"}',
                b'{"record":[]}',
                b'{"record":{}}',
                b'{"record":null}',
                b'\xff\xfe{"record":"blob"}',
                b"[" * 100_000,
                b'{"record":' + b"9" * 10_000 + b"}",
            ]
        ),
    ],
)
def test_a_forged_line_neither_becomes_a_record_nor_hides_a_record(forged: str, why: str) -> None:
    lines, commit = printed([blob(b"the real one")])
    assert read([forged], NONCE).records == {}, why
    assert read([forged, *lines, forged], NONCE).complete(commit), why


def test_the_first_of_several_valid_records_with_the_same_number_counts() -> None:
    first, _ = printed([blob(b"first")])
    second, commit = printed([blob(b"second")])
    transcript = read([*first, *second], NONCE)
    assert transcript.records == {0: blob(b"first")}
    assert not transcript.complete(commit)


def test_an_incomplete_record_counts_as_damaged() -> None:
    lines, commit = printed([blob(noise(30_000)), blob(b"whole")])
    transcript = read(lines[1:], NONCE)
    assert (transcript.damaged, list(transcript.records)) == (1, [1])
    assert not transcript.complete(commit)


def test_the_reader_refuses_a_deflate_bomb_and_needs_only_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 1_000_000)
    bomb = zlib.compress(b"\0" * 200_000_000, 9)
    assert len(bomb) < 1_000_000
    text = line(bomb, part=f"1/{-(-len(bomb) // 9000)}")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            Record.from_frame(bomb)
        assert read([text], NONCE).records == {}
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_writer_refuses_a_record_that_every_reader_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 1000)
    fits = blob(b"\0" * (1000 - 4 - len(b'{"record":"blob"}')))
    lines, commit = printed([fits])
    assert read(lines, NONCE).complete(commit)
    with pytest.raises(RecordTooLarge, match="a blob record of 980 bytes is larger than the 1,000"):
        printed([blob(fits.body + b"\0")])


@pytest.mark.parametrize("nonce", ["", "short", "with a blank", "x" * 65, "newline\n12345", "ümläute-ö"])
def test_a_writer_refuses_a_nonce_that_would_not_fit_into_a_line(nonce: str) -> None:
    with pytest.raises(ValueError, match="is not a word of 8 to 64 characters"):
        Writer(lambda line: None, nonce)


def test_the_digest_of_a_printed_record_depends_on_its_kind_header_and_body() -> None:
    one = Record(RecordKind.RESULT, {"key": "a"}, b"body")
    others = [
        Record(RecordKind.BLOB, {"key": "a"}, b"body"),
        Record(RecordKind.RESULT, {"key": "b"}, b"body"),
        Record(RecordKind.RESULT, {"key": "a"}, b"bodY"),
        Record(RecordKind.RESULT, {"key": "a"}, b""),
    ]
    assert len({frame_digest(record.frame()) for record in [one, *others]}) == 5
    assert Record.from_frame(one.frame()) == one
