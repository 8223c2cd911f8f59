"""What a pod prints and how it ends: with which credentials, on which errors, and without its secrets."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from support import canary, git_pods, sshd
from support.git_pods import Pod, PodFolder
from support.git_server import (
    BEARER,
    PASSWORD,
    USER,
    Authority,
    GitServer,
    Repository,
    answering,
    basic,
    cut,
    hanging,
    https,
)
from swarm_git import github_app
from swarm_git.command import Access, Patience
from swarm_git.errors import GitError
from swarm_git.snapshot import fetch
from swarm_wire.messages import Pushed, PushOutcome
from swarm_wire.names import ExitCode, WorkerReason
from swarm_wire.records import RecordKind
from swarm_wire.spec.git import GitDestination, GitSource

LOGIN = {"username": USER, "password": PASSWORD}


@pytest.fixture
def repository(git_server: GitServer) -> Repository:
    repository = git_server.repository()
    repository.commit({"a.py": b"a", "app/b.py": b"b"})
    return repository


@pytest.fixture
def ca(authority: Authority) -> dict[str, str]:
    return {"ca.crt": authority.ca.read_text()}


def source(server: GitServer, **more: Any) -> dict[str, Any]:
    return {"url": server.url(), "secret": {"name": "git"}, **more}


def destination(server: GitServer, **more: Any) -> dict[str, Any]:
    return {"url": server.url(), "secret": {"name": "git"}, "branch": "main", "path": "out", **more}


def publishing(root: Path, server: GitServer, secret: dict[str, str], run: str = "3f2a91c0", **more: Any) -> PodFolder:
    folder = PodFolder.made(root, git_pods.request(destination=destination(server, **more), run=run), secret)
    git_pods.artifact(root / "artifact")
    return folder


def assert_no_trace(pod: Pod, folder: PodFolder, *secrets: str) -> None:
    """Asserts that no secret is in what a pod has printed or left behind, and that it has left no file."""
    assert [*(folder.root / "tmp").iterdir()] == []
    log = (folder.root / "termination.log").read_bytes()
    everything = [pod.output.encode(), pod.log.encode(), log, *canary.inflated(pod.records)]
    for secret in secrets:
        assert [found for found in everything if any(trace in found for trace in canary.traces(secret))] == []


def test_a_fetched_snapshot_is_printed_and_committed(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str]
) -> None:
    folder = PodFolder.made(tmp_path / "pod", git_pods.request(source(git_server, path="app")), ca)
    pod = folder.run("fetch")
    assert (pod.code, pod.commit.exit_code, pod.commit.reason) == (0, 0, None)
    assert [record.kind for record in pod.records] == [RecordKind.SNAPSHOT]
    header, data = pod.snapshot
    assert (header.revision, header.url, header.files) == (repository.tip(), git_server.url(), 1)
    assert git_pods.members(data) == {"b.py": (0o644, b"b")}
    assert pod.commit.spent is None, "it makes no LM call"


def test_a_published_artifact_is_printed_and_a_second_pod_finds_it(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str]
) -> None:
    pods = [publishing(tmp_path / name, git_server, ca).run("publish") for name in ("first", "second")]
    first, second = (Pushed.model_validate(pod.records[0].header) for pod in pods)
    assert [record.kind for record in pods[0].records] == [RecordKind.PUSHED]
    assert first.outcome is PushOutcome.PUSHED
    assert (first, repository.tip()) == (second, first.commit)


@pytest.mark.parametrize(
    ("command", "made"),
    [
        pytest.param("fetch", {}, id="no spec.program.source.git"),
        pytest.param("publish", {}, id="no spec.artifact.git"),
        pytest.param(
            "fetch", {"source": {"url": "http://x/y", "secret": {"name": "git"}}}, id="plain http with a secret"
        ),
    ],
)
def test_a_spec_without_a_repository_ends_the_run(tmp_path: Path, command: str, made: dict[str, Any]) -> None:
    pod = PodFolder.made(tmp_path / "pod", git_pods.request(**made)).run(command)
    assert (pod.code, pod.commit.reason) == (ExitCode.BAD_INPUT, WorkerReason.INVALID_SPEC)


def test_another_version_of_the_contract_is_refused(tmp_path: Path) -> None:
    pod = PodFolder.made(tmp_path / "pod", {**git_pods.request(), "schemaVersion": 99}).run("fetch")
    assert (pod.code, pod.commit.reason) == (ExitCode.SCHEMA_MISMATCH, WorkerReason.SCHEMA_MISMATCH)


# Credentials


def fetched(server: GitServer, secret: Path | None, patience: Patience | None = None, **more: Any) -> str:
    """Fetches in this process. Returns the content of a.py."""
    spec = GitSource.model_validate(source(server, **more) if secret else {"url": server.url(), **more})
    return git_pods.unpacked(fetch(git_pods.opened(spec, secret, patience), spec))["a.py"].decode()


def failed(*arguments: Any, **more: Any) -> GitError:
    with pytest.raises(GitError) as error:
        fetched(*arguments, **more)
    return error.value


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        pytest.param(LOGIN, basic(USER, PASSWORD), id="username and password"),
        pytest.param({**LOGIN, "password": f"{PASSWORD}\n"}, basic(USER, PASSWORD), id="a line end is no part of it"),
        pytest.param({"bearerToken": BEARER}, f"Bearer {BEARER}", id="bearerToken"),
    ],
)
def test_credentials_of_https(
    tmp_path: Path,
    git_server: GitServer,
    repository: Repository,
    ca: dict[str, str],
    secret: dict[str, str],
    header: str,
) -> None:
    git_server.accepts = {header}
    assert fetched(git_server, git_pods.write_files(tmp_path / "secret", {**secret, **ca})) == "a"
    assert {given for *_, given in git_server.asked} <= {"", header}


APP = {"githubAppID": "1234", "githubAppInstallationID": "5678"}


def test_a_missing_or_empty_secret_is_asked_for_again(tmp_path: Path) -> None:
    server = GitServer(tmp_path, "https://git.example.com")
    error = failed(server, git_pods.write_files(tmp_path / "secret", {}))
    assert (error.reason, error.terminal) == (WorkerReason.MISSING_SECRET, False)
    assert "there is no Secret git, or it is empty" in str(error)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        pytest.param({"username": USER}, "has username. The URL", id="no password"),
        pytest.param({**LOGIN, "password": ""}, "needs username and password", id="an empty password"),
        pytest.param({"identity": "x", "known_hosts": "y"}, "has identity, known_hosts", id="keys of ssh"),
        pytest.param({**LOGIN, "bearerToken": BEARER}, "Keep only one kind", id="two kinds"),
        pytest.param(APP, "needs githubAppID and githubAppInstallationID and githubAppPrivateKey", id="half an App"),
        pytest.param({**LOGIN, "password": "two\nlines"}, "the key password must be one line", id="two lines"),
        pytest.param(
            {**APP, "githubAppPrivateKey": "text"}, "no private RSA key in PEM", id="an App's key that is none"
        ),
    ],
)
def test_keys_of_a_secret_that_do_not_fit_https(tmp_path: Path, secret: dict[str, str], told: str) -> None:
    server = GitServer(tmp_path, "https://git.example.com")
    error = failed(server, git_pods.write_files(tmp_path / "secret", secret))
    assert (error.reason, error.terminal) == (WorkerReason.GIT_CREDENTIALS_REJECTED, True)
    assert told in str(error)
    assert "spec.program.source.git" in str(error)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        pytest.param(LOGIN, "needs identity (a private ssh key) and known_hosts", id="keys of https"),
        pytest.param({"identity": "x"}, "needs identity (a private ssh key) and known_hosts", id="no known_hosts"),
        pytest.param({"identity": "x", "known_hosts": "y", "password": "z"}, "has a passphrase", id="a passphrase"),
    ],
)
def test_keys_of_a_secret_that_do_not_fit_ssh(tmp_path: Path, secret: dict[str, str], told: str) -> None:
    error = failed(GitServer(tmp_path, "ssh://git@127.0.0.1:1"), git_pods.write_files(tmp_path / "secret", secret))
    assert (error.reason, error.terminal) == (WorkerReason.GIT_CREDENTIALS_REJECTED, True)
    assert told in str(error)


def test_an_encrypted_ssh_key_is_refused_before_it_is_used(tmp_path: Path) -> None:
    secret = {"identity": sshd.key(tmp_path / "key", "a passphrase"), "known_hosts": "y"}
    error = failed(GitServer(tmp_path, "ssh://git@127.0.0.1:1"), git_pods.write_files(tmp_path / "secret", secret))
    assert "ssh-keygen -p" in str(error)


class _GitHub(BaseHTTPRequestHandler):
    """GitHub's address for the tokens of installations."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        told = self.server.told  # type: ignore[attr-defined]
        told.asked.append((self.command, self.path, self.headers["Authorization"]))
        if told.fault is None or not told.fault(self):
            answering(201, json.dumps({"token": BEARER}))(self)  # type: ignore[arg-type]


@pytest.fixture
def github(tmp_path: Path, authority: Authority) -> Iterator[GitServer]:
    with https(tmp_path, authority, _GitHub) as server:
        yield server


@pytest.fixture(scope="session")
def app_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("app") / "key.pem"
    subprocess.run(("openssl", "genrsa", "-out", path, "2048"), check=True, capture_output=True)
    return path.read_text(encoding="ascii")


def test_a_github_app_signs_a_request_for_a_token_of_its_installation(
    tmp_path: Path, git_server: GitServer, repository: Repository, github: GitServer, app_key: str, ca: dict[str, str]
) -> None:
    git_server.accepts = {basic("x-access-token", BEARER)}
    secret = {**APP, "githubAppPrivateKey": app_key, "githubAppBaseURL": github.address, **ca}
    assert fetched(git_server, git_pods.write_files(tmp_path / "secret", secret)) == "a"
    [(_, path, authorization)] = github.asked
    assert path == "/app/installations/5678/access_tokens"
    head, body, signature = authorization.removeprefix("Bearer ").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert (claims["iss"], claims["exp"] - claims["iat"]) == (
        "1234",
        github_app.VALID_SECONDS + github_app.EARLY_SECONDS,
    )
    for name, data in (("public", b""), ("signature", base64.urlsafe_b64decode(signature + "=="))):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "private").write_text(app_key, encoding="ascii")
    subprocess.run(
        ("openssl", "rsa", "-in", "private", "-pubout", "-out", "public"), cwd=tmp_path, check=True, capture_output=True
    )
    verify = ("openssl", "dgst", "-sha256", "-verify", "public", "-signature", "signature")
    subprocess.run(verify, cwd=tmp_path, input=f"{head}.{body}".encode(), check=True, capture_output=True)


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [
        (401, WorkerReason.GIT_CREDENTIALS_REJECTED, "githubAppPrivateKey do not belong together"),
        (404, WorkerReason.GIT_CREDENTIALS_REJECTED, "githubAppInstallationID is not"),
        (302, WorkerReason.GIT_CREDENTIALS_REJECTED, "githubAppBaseURL"),
        (503, WorkerReason.GIT_UNREACHABLE, "503"),
    ],
)
def test_an_app_that_github_refuses(
    tmp_path: Path, github: GitServer, app_key: str, ca: dict[str, str], status: int, reason: str, told: str
) -> None:
    github.fault = answering(status, Location="https://evil.example.com/")
    secret = {**APP, "githubAppPrivateKey": app_key, "githubAppBaseURL": github.address, **ca}
    error = failed(github, git_pods.write_files(tmp_path / "secret", secret))
    assert (error.reason, error.terminal) == (reason, reason != WorkerReason.GIT_UNREACHABLE)
    assert told in str(error)


# Servers


@pytest.mark.parametrize(
    ("fault", "reason", "told"),
    [
        pytest.param(answering(401), WorkerReason.GIT_CREDENTIALS_REJECTED, "refuses the credentials", id="401"),
        pytest.param(answering(403), WorkerReason.GIT_CREDENTIALS_REJECTED, "the right to read it", id="403"),
        pytest.param(answering(404), WorkerReason.GIT_NOT_FOUND, "Check spec.program.source.git.url", id="404"),
        pytest.param(answering(429), WorkerReason.GIT_UNREACHABLE, "429", id="too many requests"),
        pytest.param(answering(503), WorkerReason.GIT_UNREACHABLE, "503", id="503"),
        pytest.param(
            answering(200, "<html>"), WorkerReason.GIT_NOT_FOUND, "url is that of a git", id="a page in place of git"
        ),
        pytest.param(cut, WorkerReason.GIT_UNREACHABLE, "Another attempt follows", id="a cut connection"),
    ],
)
def test_what_a_server_answers_decides_whether_another_attempt_follows(
    tmp_path: Path, git_server: GitServer, ca: dict[str, str], fault: Any, reason: WorkerReason, told: str
) -> None:
    git_server.fault = fault
    error = failed(git_server, git_pods.write_files(tmp_path / "secret", {**LOGIN, **ca}))
    assert (error.reason, told in str(error)) == (reason, True), str(error)
    assert error.terminal == (reason is not WorkerReason.GIT_UNREACHABLE)
    assert PASSWORD not in str(error)


@pytest.mark.parametrize("patience", [Patience(60, 1), Patience(1, 60)], ids=["git gives up", "git is ended"])
def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, git_server: GitServer, ca: dict[str, str], patience: Patience
) -> None:
    ended = threading.Event()
    git_server.fault = hanging(ended)
    error = failed(git_server, git_pods.write_files(tmp_path / "secret", {**LOGIN, **ca}), patience)
    ended.set()
    assert (error.reason, error.terminal) == (WorkerReason.GIT_UNREACHABLE, False)


@pytest.mark.parametrize("secret", [LOGIN, {"bearerToken": BEARER}], ids=["password", "token"])
def test_credentials_do_not_follow_a_redirect_to_another_host(
    tmp_path: Path, git_server: GitServer, authority: Authority, ca: dict[str, str], secret: dict[str, str]
) -> None:
    with https(tmp_path / "evil", authority) as evil:
        evil.accepts = {"nothing"}
        target = f"{evil.address}/app.git/info/refs?service=git-upload-pack".replace("127.0.0.1", "localhost")
        git_server.fault = answering(302, Location=target)
        error = failed(git_server, git_pods.write_files(tmp_path / "secret", {**secret, **ca}))
        assert evil.asked == []
    assert (error.reason, error.terminal) == (WorkerReason.GIT_NOT_FOUND, True)
    assert "at another address" in str(error)


def test_an_unknown_certificate_is_refused(tmp_path: Path, git_server: GitServer) -> None:
    error = failed(git_server, git_pods.write_files(tmp_path / "secret", LOGIN))
    assert (error.reason, error.terminal) == (WorkerReason.GIT_CREDENTIALS_REJECTED, True)
    assert "key ca.crt of the Secret git" in str(error)
    assert git_server.asked == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://no-such-host.invalid", WorkerReason.GIT_UNREACHABLE),
        ("https://127.0.0.1:1", WorkerReason.GIT_UNREACHABLE),
    ],
    ids=["no such host", "no server"],
)
def test_an_unreachable_server_may_answer_later(tmp_path: Path, address: str, reason: WorkerReason) -> None:
    error = failed(GitServer(tmp_path, address), None)
    assert (error.reason, error.terminal) == (reason, False)


def test_a_private_repository_without_a_secret_says_where_to_name_one(
    git_server: GitServer, repository: Repository, ca: dict[str, str], authority: Authority
) -> None:
    git_server.accepts = {basic(USER, PASSWORD)}
    spec = GitSource.model_validate({"url": git_server.url()})
    access = Access(config={"http.sslCAInfo": str(authority.ca)})
    with pytest.raises(GitError, match=r"Name a Secret in spec\.program\.source\.git\.secret"):
        fetch(git_pods.opened(spec, access=access), spec)


# Secrets


@pytest.mark.parametrize("secret", [LOGIN, {"bearerToken": BEARER}], ids=["password", "token"])
def test_a_secret_is_in_no_output_no_file_and_no_list_of_processes(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str], secret: dict[str, str]
) -> None:
    token = secret.get("password") or secret["bearerToken"]
    encoded = basic(USER, token).split()[1] if token == PASSWORD else base64.b64encode(token.encode()).decode()
    git_server.accepts = {basic(USER, PASSWORD), f"Bearer {BEARER}"}
    repository.hook("pre-receive", f"echo 'no {token} in {encoded}' >&2; exit 1")
    seen: list[bytes] = []
    git_server.after = lambda _: seen.extend(
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    )
    folder = publishing(tmp_path / "pod", git_server, {**secret, **ca})
    pod = folder.run("publish")
    assert (pod.code, pod.commit.reason) == (ExitCode.BAD_INPUT, WorkerReason.GIT_REFUSED)
    assert "The server says: no (" in str(pod.commit.message)
    assert any(b"git-remote-https" in line or b"remote-https" in line for line in seen)
    assert not any(trace in line for line in seen for trace in canary.traces(token))
    assert_no_trace(pod, folder, token, encoded)


def test_the_password_of_a_proxy_is_masked(tmp_path: Path, git_server: GitServer) -> None:
    request = git_pods.request({"url": git_server.url()})
    folder = PodFolder.made(tmp_path / "pod", request, https_proxy="http://user:proxy-passw0rd@127.0.0.1:1")
    pod = folder.run("fetch")
    assert (pod.code, pod.commit.reason) == (ExitCode.FAILED, WorkerReason.GIT_UNREACHABLE)
    assert git_server.asked == []
    assert_no_trace(pod, folder, "proxy-passw0rd")


# Ends


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_pod_that_ends_between_push_and_report_leaves_one_commit(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str], end: signal.Signals
) -> None:
    pushed, ended = threading.Event(), threading.Event()

    def hold(handler: Any) -> None:
        if handler.path.endswith("/git-receive-pack"):
            pushed.set()
            ended.wait(30)

    git_server.after = hold
    folder = publishing(tmp_path / "pod", git_server, ca)
    process = folder.started("publish")
    assert pushed.wait(30)
    process.send_signal(end)
    if end is signal.SIGTERM:
        pod = folder.ended(process)
        assert (pod.code, pod.commit.exit_code) == (ExitCode.INTERRUPTED, ExitCode.INTERRUPTED)
        assert_no_trace(pod, folder)
    else:
        process.communicate(timeout=30)
    ended.set()
    git_server.after = None
    commit = repository.tip()
    again = publishing(tmp_path / "again", git_server, ca).run("publish")
    found = Pushed.model_validate(again.records[0].header)
    assert (found.outcome, found.commit) == (PushOutcome.PUSHED, commit)
    assert commit == repository.tip()
    assert len(repository.messages()) == 2


def test_a_pod_that_is_asked_to_end_leaves_no_process(
    tmp_path: Path, git_server: GitServer, ca: dict[str, str]
) -> None:
    ended = threading.Event()
    git_server.fault = hanging(ended)
    folder = PodFolder.made(tmp_path / "pod", git_pods.request(source(git_server)), ca)
    process = folder.started("fetch")
    while not git_server.asked:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    pod = folder.ended(process)
    ended.set()
    mine = str(folder.root).encode()
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if os.access(path, os.R_OK) and mine in _read(path)]
    assert (pod.code, left) == (ExitCode.INTERRUPTED, [])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# ssh


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    found = sshd.program()
    if isinstance(found, str):
        pytest.skip(found)
    with sshd.running(tmp_path_factory.mktemp("ssh") / "sshd", found) as server:
        yield server


def _ssh_pod(root: Path, repository: Repository, server: sshd.Sshd, **changed: str) -> PodFolder:
    secret = {"identity": server.identity, "known_hosts": server.known_hosts, **changed}
    spec = {"url": server.url(repository.path), "secret": {"name": "git"}, "branch": "main", "path": "out"}
    folder = PodFolder.made(root, git_pods.request(destination=spec), secret)
    git_pods.artifact(root / "artifact")
    return folder


def test_an_artifact_is_pushed_over_ssh(tmp_path: Path, repository: Repository, ssh_server: sshd.Sshd) -> None:
    folder = _ssh_pod(
        tmp_path / "pod", repository, ssh_server, identity=ssh_server.identity.strip().replace("\n", "\r\n")
    )
    pod = folder.run("publish")
    assert pod.code == 0, pod.log
    assert Pushed.model_validate(pod.records[0].header).commit == repository.tip()
    assert_no_trace(pod, folder, ssh_server.identity.splitlines()[1])


def test_an_ssh_server_with_another_key_gets_nothing(
    tmp_path: Path, repository: Repository, ssh_server: sshd.Sshd
) -> None:
    sshd.key(tmp_path / "other")
    line = f"[127.0.0.1]:{ssh_server.port} {(tmp_path / 'other.pub').read_text()}"
    for number, hosts in enumerate((line, "example.com ssh-ed25519 AAAA")):
        pod = _ssh_pod(tmp_path / f"pod{number}", repository, ssh_server, known_hosts=hosts).run("publish")
        assert (pod.code, pod.commit.reason) == (ExitCode.BAD_INPUT, WorkerReason.GIT_CREDENTIALS_REJECTED)
        assert "known_hosts" in str(pod.commit.message)


@pytest.mark.parametrize("identity", [None, "no key at all, but long enough"], ids=["another key", "no key"])
def test_an_ssh_key_that_the_server_does_not_know_is_refused(
    tmp_path: Path, repository: Repository, ssh_server: sshd.Sshd, identity: str | None
) -> None:
    identity = identity or sshd.key(tmp_path / "other")
    pod = _ssh_pod(tmp_path / "pod", repository, ssh_server, identity=identity).run("publish")
    assert (pod.code, pod.commit.reason) == (ExitCode.BAD_INPUT, WorkerReason.GIT_CREDENTIALS_REJECTED)
    assert "the key identity of the Secret git" in str(pod.commit.message)


# Signatures


def test_a_commit_is_signed_with_an_ssh_key(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str]
) -> None:
    key = sshd.key(tmp_path / "signing")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"me@example.com {(tmp_path / 'signing.pub').read_text()}", encoding="ascii")
    spec = destination(git_server, signingKey={"secret": {"name": "signing", "key": "ssh"}})
    folder = PodFolder.made(tmp_path / "pod", git_pods.request(destination=spec), ca, key.strip())
    git_pods.artifact(folder.root / "artifact")
    pod = folder.run("publish")
    assert pod.code == 0, pod.log
    verify = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", "main")
    repository.git(*verify)
    assert_no_trace(pod, folder, key.splitlines()[1])


def test_a_signing_key_with_a_passphrase_is_refused(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str]
) -> None:
    spec = destination(git_server, signingKey={"secret": {"name": "signing", "key": "ssh"}})
    key = sshd.key(tmp_path / "signing", "passphrase")
    folder = PodFolder.made(tmp_path / "pod", git_pods.request(destination=spec), ca, key)
    git_pods.artifact(folder.root / "artifact")
    pod = folder.run("publish")
    assert (pod.code, pod.commit.reason) == (ExitCode.BAD_INPUT, WorkerReason.GIT_CREDENTIALS_REJECTED)
    assert "spec.artifact.git.signingKey.secret" in str(pod.commit.message)
    assert GitDestination.model_validate(spec).signing_key is not None


@pytest.mark.parametrize("key", [None, "", "\n"], ids=["missing", "empty", "blank"])
def test_a_missing_signing_key_is_asked_for_again(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str], key: str | None
) -> None:
    before = repository.tip()
    spec = destination(git_server, signingKey={"secret": {"name": "signing", "key": "ssh"}})
    folder = PodFolder.made(tmp_path / "pod", git_pods.request(destination=spec), ca, key)
    git_pods.artifact(folder.root / "artifact")
    pod = folder.run("publish")
    assert (pod.code, pod.commit.reason) == (ExitCode.FAILED, WorkerReason.MISSING_SECRET)
    assert pod.commit.message == (
        "spec.artifact.git.signingKey.secret: there is no Secret signing, or its key ssh is missing or empty. "
        "Create it; another attempt follows."
    )
    assert repository.tip() == before


# Edited artifacts


def test_an_artifact_that_somebody_has_edited_is_not_pushed(
    tmp_path: Path, git_server: GitServer, repository: Repository, ca: dict[str, str]
) -> None:
    before = repository.tip()
    right = hashlib.sha256(json.dumps(git_pods.PROGRAM).encode()).hexdigest()
    for name, expected in (("edited", "0" * 64), ("without-program", right)):
        folder = publishing(tmp_path / name, git_server, ca)
        folder.more["SWARM_ARTIFACT_SHA256"] = expected
        if name == "without-program":
            (folder.root / "artifact" / "program.json").unlink()
        pod = folder.run("publish")
        assert (pod.code, pod.commit.reason) == (ExitCode.FAILED, WorkerReason.GIT_REFUSED)
        assert "somebody has edited the artifact's ConfigMap, so nothing was pushed" in str(pod.commit.message)
        assert "Delete it, and the operator writes it again" in str(pod.commit.message)
        assert (pod.records, repository.tip()) == ([], before)
    folder = publishing(tmp_path / "right", git_server, ca)
    folder.more["SWARM_ARTIFACT_SHA256"] = right
    assert folder.run("publish").code == 0
