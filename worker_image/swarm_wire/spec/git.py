"""Git repositories: the program's files come from one, and the winner may go to one."""

from typing import Literal, Self

from pydantic import Field, model_validator

from swarm_wire.spec.references import SecretKeyRef, SecretRef
from swarm_wire.spec.schema import BRANCH, COMMIT, EMAIL, GIT_URL, PATH, PERSON, URL, SpecModel, Union


class GitRef(Union):
    """A commit of a repository, by its branch, its tag or its id. Exactly one field must be set."""

    branch: str | None = Field(None, pattern=BRANCH, max_length=244, description="The newest commit of this branch.")
    tag: str | None = Field(None, pattern=BRANCH, max_length=244, description="The commit of this tag.")
    commit: str | None = Field(
        None,
        pattern=COMMIT,
        max_length=40,
        description="Id of the commit: 40 hex digits. The server must allow fetching it.",
    )


class GitRepository(SpecModel):
    """A git repository, and the credentials for it."""

    url: str = Field(
        pattern=GIT_URL,
        max_length=1024,
        description='URL of the repository, without credentials: "https://github.com/acme/app.git", '
        '"ssh://git@github.com/acme/app.git" or "git@github.com:acme/app.git".',
    )
    secret: SecretRef | None = Field(
        None,
        description="Secret with the credentials, in Flux's form. For https: username and password, or bearerToken, or "
        "githubAppID, githubAppInstallationID and githubAppPrivateKey; ca.crt for a CA of your own. For ssh: identity "
        "and known_hosts. The operator never reads it. Default: no credentials.",
    )

    @model_validator(mode="after")
    def _credentials_travel_safely(self) -> Self:
        if self.secret is not None and self.url.startswith("http://"):
            raise ValueError(
                "http:// would send the credentials of secret unencrypted: write an https:// or ssh:// URL"
            )
        if self.secret is None and not self.url.startswith("http"):
            raise ValueError("an ssh URL needs secret, with identity and known_hosts; or write an https:// URL")
        return self


class GitSource(GitRepository):
    """A folder of a git repository, with the program's files. A run uses one commit from its beginning to its end."""

    ref: GitRef | None = Field(None, description="The commit. Default: the newest one of the default branch.")
    path: str | None = Field(
        None,
        pattern=PATH,
        max_length=1024,
        description="Folder in the repository. Imports and relative paths begin there. Default: the whole repository.",
    )


class GitAuthor(SpecModel):
    """The author of commits."""

    name: str = Field(min_length=1, max_length=200, pattern=PERSON, description="Name of the author.")
    email: str = Field(min_length=1, max_length=200, pattern=EMAIL, description="Email address of the author.")


class SigningKey(SpecModel):
    """The ssh key that signs commits."""

    secret: SecretKeyRef = Field(description="Key of a Secret that holds a private ssh key without a passphrase.")


class PullRequest(SpecModel):
    """A pull request (GitLab: merge request) for the commit, instead of a push to the branch itself."""

    provider: Literal["github", "gitlab", "gitea"] = Field(
        description="Whose API the server has. Forgejo has that of gitea."
    )
    api: str | None = Field(
        None,
        pattern=URL,
        max_length=1024,
        description='URL of the API, such as "https://git.example.com/api/v1". Default: the usual one of the '
        "provider, on the host of the repository.",
    )


class GitDestination(GitRepository):
    """A folder of a git repository into which the winner is committed."""

    branch: str = Field(
        pattern=BRANCH, max_length=244, description="Branch to which the winner is pushed, or is to be merged."
    )
    path: str = Field(
        pattern=PATH,
        max_length=1024,
        description="Folder of program.json, report.json and report.md. Nothing else in the repository changes.",
    )
    message: str = Field(
        "Compile {name}: {score}",
        min_length=1,
        max_length=2000,
        description="Message of the commit. {name}, {namespace}, {run}, {score} and {baseline} are replaced. Trailers "
        "with the same facts follow it.",
    )
    author: GitAuthor = Field(
        default_factory=lambda: GitAuthor(name="dspy-swarm", email="dspy-swarm@users.noreply.dspy-swarm.dev"),
        description="Author of the commit.",
    )
    signing_key: SigningKey | None = Field(None, description="Key that signs the commit. Default: no signature.")
    pull_request: PullRequest | None = Field(
        None, description="Opens or updates a pull request. Default: the commit is pushed to the branch itself."
    )

    @model_validator(mode="after")
    def _an_api_needs_a_token(self) -> Self:
        if self.pull_request is not None and (self.secret is None or not self.url.startswith("https://")):
            raise ValueError("pullRequest needs an https:// url, and a secret whose token may open pull requests")
        return self
