"""What people read when git fails, and whether another attempt follows; what is masked in it."""

import base64
from pathlib import Path

import pytest

from swarm_git.errors import Place, explained
from swarm_git.masking import Masks
from swarm_wire.names import WorkerReason

REJECTED, NOT_FOUND = WorkerReason.GIT_CREDENTIALS_REJECTED, WorkerReason.GIT_NOT_FOUND
REFUSED, UNREACHABLE = WorkerReason.GIT_REFUSED, WorkerReason.GIT_UNREACHABLE
READ = Place("spec.program.source.git", "https://git.example.com/acme/app.git", "creds", "the branch main")
WRITE = Place("spec.artifact.git", "git@git.example.com:acme/app.git", "creds", "the branch main", writes=True)
FATAL = "fatal: unable to access 'https://git.example.com/acme/app.git/': "


@pytest.mark.parametrize(
    ("said", "reason", "told"),
    [
        ("fatal: Authentication failed for 'https://git.example.com/'", REJECTED, "wrong or expired"),
        ("fatal: could not read Username for 'https://git.example.com': terminal prompts disabled", REJECTED, "creds"),
        (
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for",
            REJECTED,
            "spec.program.source.git.secret",
        ),
        (f"{FATAL}The requested URL returned error: 403", REJECTED, "right to read it"),
        (
            "remote: Write access to repository not granted.\nerror: 403",
            REJECTED,
            "Write access to repository not granted",
        ),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", NOT_FOUND, "Repository not found"),
        ("remote: The project you were looking for could not be found", NOT_FOUND, "Check spec.program.source.git.url"),
        ("fatal: '/srv/app.git' does not appear to be a git repository", NOT_FOUND, "no repository"),
        ("fatal: couldn't find remote ref refs/heads/main", NOT_FOUND, "does not have the branch main"),
        ("fatal: remote error: upload-pack: not our ref 111", NOT_FOUND, "the branch main"),
        ("error: Server does not allow request for unadvertised object 111", NOT_FOUND, "allowReachableSHA1InWant"),
        (f"{FATAL}The requested URL returned error: 301", NOT_FOUND, "at another address"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", REJECTED, "ssh-keyscan"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", REJECTED, "known_hosts"),
        ("git@host: Permission denied (publickey).\nfatal: Could not read from remote", REJECTED, "deploy key"),
        (
            'Load key "/tmp/identity": error in libcrypto\ngit@h: Permission denied (publickey).',
            REJECTED,
            "private ssh key",
        ),
        ("No user exists for uid 65533", WorkerReason.INFRASTRUCTURE_FAILED, "/etc/passwd"),
        (f"{FATAL}server certificate verification failed. CAfile: none CRLfile: none", REJECTED, "ca.crt"),
        (f"{FATAL}SSL certificate problem: unable to get local issuer certificate", REJECTED, "ca.crt"),
        (f"{FATAL}Could not resolve host: git.example.com", UNREACHABLE, "Could not resolve host"),
        (f"{FATAL}Failed to connect to git.example.com port 443: Connection refused", UNREACHABLE, "Another attempt"),
        (f"{FATAL}Operation too slow. Less than 1 bytes/sec transferred the last 60 seconds", UNREACHABLE, "too slow"),
        (f"{FATAL}The requested URL returned error: 502", UNREACHABLE, "502"),
        ("remote: API rate limit exceeded\nfatal: error: 403", UNREACHABLE, "rate limit"),
        ("ssh: connect to host git.example.com port 22: Connection timed out", UNREACHABLE, "timed out"),
        ("error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF", UNREACHABLE, "RPC failed"),
        ("fatal: write error: No space left on device", WorkerReason.INFRASTRUCTURE_FAILED, "disk space"),
        ("fatal: mismatched algorithms: client sha1; server sha256", WorkerReason.SOURCE_INVALID, "SHA-256"),
        ("fatal: something new", WorkerReason.WORKER_FAILED, "git says: fatal: something new."),
        ("", WorkerReason.WORKER_FAILED, "git says: nothing."),
    ],
)
def test_a_failed_fetch(said: str, reason: WorkerReason, told: str) -> None:
    error = explained(said, READ)
    assert (error.reason, told in str(error)) == (reason, True), str(error)
    again = (UNREACHABLE, WorkerReason.WORKER_FAILED, WorkerReason.INFRASTRUCTURE_FAILED)
    assert error.terminal == (reason not in again)
    assert str(error).startswith("spec.program.source.git: ")


@pytest.mark.parametrize(
    ("said", "reason", "told"),
    [
        ("remote: GitLab: You are not allowed to push code to protected branches", REFUSED, "not allowed to push"),
        ("remote: error: GH006: Protected branch update failed for refs/heads/main.", REFUSED, "GH006"),
        (
            "!\tx:refs/heads/main\t[remote rejected] (pre-receive hook declined)",
            REFUSED,
            "spec.artifact.git.pullRequest",
        ),
        ("remote: Forgejo: Not allowed to push to protected branch main", REFUSED, "protected branch main"),
        ("ERROR: The key you are authenticating with has been marked as read only.", REJECTED, "write"),
        ("ERROR: Permission to acme/app.git denied to bot.", REJECTED, "right to write to it"),
        ("git@host: Permission denied (publickey).", REJECTED, "with the right to write"),
        ("fatal: mismatched algorithms", REFUSED, "SHA-256"),
        (
            "remote: error: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create 'refs/heads/a/b'",
            REFUSED,
            "Rename or delete the branch a.",
        ),
        ("!\tx:refs/heads/main\t[remote rejected] (refname conflict)", REFUSED, "begins with main/"),
    ],
)
def test_a_failed_push(said: str, reason: WorkerReason, told: str) -> None:
    error = explained(said, WRITE)
    assert (error.reason, told in str(error), error.terminal) == (reason, True, True), str(error)


def test_without_a_secret_the_message_says_where_to_name_one() -> None:
    error = explained("error: 401", Place("spec.program.source.git", READ.url))
    assert "Name a Secret in spec.program.source.git.secret" in str(error)


def test_a_long_output_is_quoted_from_its_end() -> None:
    error = explained("\n".join(f"line {number} {'x' * 200}" for number in range(50)), READ)
    assert len(str(error)) < 1000
    assert "line 49" in str(error)


@pytest.mark.parametrize(
    ("name", "value", "text", "shown"),
    [
        pytest.param("password", "pass", "a pass", "a (password)", id="a short password"),
        pytest.param("password", "a b/c+d=", "a%20b%2Fc%2Bd%3D", "(password)", id="as in a URL"),
        pytest.param("password", "a-secret\n", "a-secret!", "(password)!", id="without its line end"),
        pytest.param("identity", "-----BEGIN-----\nAAAABBBB\n", "x AAAABBBB", "x (identity)", id="a line of a key"),
        pytest.param(
            "identity", "-----BEGIN-----\nAAAABBBB\n", "-----BEGIN-----", "-----BEGIN-----", id="a key's head"
        ),
        pytest.param("username", "git", "git fetch", "git fetch", id="a word of many texts"),
        pytest.param("username", "x-access-token", "x-access-token", "x-access-token", id="a user of everybody"),
        pytest.param("bearerToken", "token-12", base64.b64encode(b"token-12").decode(), "(bearerToken)=", id="base64"),
    ],
)
def test_secrets_are_replaced_by_the_names_of_their_keys(name: str, value: str, text: str, shown: str) -> None:
    masks = Masks()
    masks.add(name, value)
    assert masks.redact(text) == shown


def test_a_user_whose_name_the_url_has_is_no_secret(tmp_path: Path) -> None:
    masks = Masks()

    (tmp_path / "username").write_text("acme-robot\n")
    (tmp_path / "password").write_text("acme-robot-password")
    masks.add_folder(tmp_path, "https://git.example.com/acme-robot/app.git")
    assert masks.redact("acme-robot: acme-robot-password") == "acme-robot: (password)"
