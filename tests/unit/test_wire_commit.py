"""A pod ends with a commit: a summary of its output, in its termination message."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.wire import NONCE, blob, noise, printed
from swarm_wire.messages import Commit
from swarm_wire.pod_output import COMMIT_BYTES, Writer, commit_text, parse_commit, read

any_text = st.text(st.characters(), max_size=3000)


def committed(message: str | None, reason: str | None = "DataInvalid", nonce: str = NONCE) -> Commit:
    return Writer(lambda line: None, nonce).commit(64, reason, message)


@settings(max_examples=150, deadline=None)
@given(any_text)
@example("")
@example("😀" * 2000)
@example("\x00" * 5000)
@example("half a pair \udcff")
@example("two\nlines")
def test_any_exit_message_fits_into_the_termination_message_and_is_read_back(message: str) -> None:
    text = commit_text(committed(message, nonce="x" * 64))
    assert len(text.encode("ascii")) <= COMMIT_BYTES
    assert "\n" not in text
    parsed = parse_commit(text, "x" * 64)
    assert parsed is not None
    assert (parsed.exit_code, parsed.reason) == (64, "DataInvalid")
    said = message.encode("utf-8", "replace").decode()
    assert (parsed.message or "").removesuffix(" ...") == said[: len((parsed.message or "").removesuffix(" ..."))]


@pytest.mark.parametrize("sign", ["a", "ä", "😀", "\x01"])
def test_an_exit_message_is_cut_only_as_far_as_needed(sign: str) -> None:
    text = commit_text(committed(sign * 5000))
    said = (parse_commit(text, NONCE) or committed(None)).message or ""
    assert said.startswith(sign)
    assert len(said) == 2000 or COMMIT_BYTES - 12 <= len(text) <= COMMIT_BYTES


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, False),
        ("", False),
        ("Error", False),
        ("{}", False),
        ("[]", False),
        ("{commit}", True),
        ("{commit}\n", True),
        ("panic: something\nmore text\n{commit}", True),
        ("{commit}\ntext after it", True),
        ("{other}\n{commit}", True),
        ("{commit}\n{other}", True),
        ("{other}", False),
        ("text {commit}", False),
        ("{cut}", False),
    ],
)
def test_a_commit_is_found_in_a_termination_message(text: str | None, found: bool) -> None:
    ours, other = commit_text(committed("ours")), commit_text(committed("other", nonce="ffffffffffffffff"))
    if text is not None:
        text = text.replace("{commit}", ours).replace("{other}", other).replace("{cut}", ours[:-1])
    assert parse_commit(text, NONCE) == (committed("ours") if found else None)


def test_the_last_of_several_commits_counts() -> None:
    first, last = commit_text(committed("first")), commit_text(committed("last"))
    assert parse_commit(f"{first}\n{last}", NONCE) == committed("last")


def test_after_the_commit_a_pod_prints_no_more_records() -> None:
    lines: list[bytes] = []
    writer = Writer(lines.append, NONCE)
    writer.put(blob(b"one"))
    commit = writer.commit(75)
    with pytest.raises(ValueError, match="closed by its commit"):
        writer.put(blob(b"late"))
    assert read([line.decode() for line in lines], NONCE).complete(commit)


def test_a_signal_handler_may_commit_while_a_record_is_being_printed() -> None:
    commits: list[Commit] = []
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        lines.append(line)
        if len(lines) == 2:  # the writer has written the first line of the second record
            commits.append(writer.commit(75))

    writer = Writer(write, NONCE)
    writer.put(blob(b"whole"))
    writer.put(blob(noise(30_000)))
    transcript = read([line.decode() for line in lines[:2]], NONCE)
    assert commits[0].records == 1
    assert transcript.complete(commits[0])


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({}, True),
        ({"records": 1}, False),
        ({"records": 3}, False),
        ({"records": -1}, False),
        ({"records": 10**15}, False),
        ({"bytes": 0}, False),
        ({"digest": "0" * 64}, False),
        ({"digest": ""}, False),
        ({"exit_code": 75, "reason": "Other"}, True),
    ],
)
def test_an_output_is_complete_only_if_it_agrees_with_its_commit(change: dict[str, object], complete: bool) -> None:
    lines, commit = printed([blob(b"one"), blob(b"two")])
    assert read(lines, NONCE).complete(commit.model_copy(update=change)) is complete


def test_an_output_without_a_commit_is_not_complete() -> None:
    assert not read([], NONCE).complete(None)
    assert read([], NONCE).complete(printed([])[1])


def test_the_json_of_a_commit_is_as_the_contract_says() -> None:
    assert json.loads(commit_text(committed("no such file"))) == {
        "schemaVersion": 1,
        "nonce": NONCE,
        "exitCode": 64,
        "records": 0,
        "bytes": 0,
        "digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "reason": "DataInvalid",
        "message": "no such file",
    }
