"""web.config as the sites read it: the connection string, and what the static parts of IIS do with it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from lab.host import Host


class ConfigurationError(Exception):
    """HTTP Error 500.19: the configuration of the site is absent or invalid."""


def web_config(host: Host, folder: str) -> ET.Element | None:
    """The parsed web.config of a site's folder, None where it has none; raises ConfigurationError for bad XML."""
    path = host.disk.path(folder + "\\web.config")
    if not path.is_file():
        return None
    try:
        return ET.fromstring(path.read_bytes())  # noqa: S314 - the lab's own file; expat bounds entities
    except ET.ParseError as error:
        raise ConfigurationError(f"Configuration file is not well-formed XML: {error}") from error


_PAIR = re.compile(r"""\s*([^=;]+?)\s*=\s*(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)'|([^;]*))\s*(?:;|$)""")
_ALIASES = {
    "data source": "server",
    "initial catalog": "database",
    "user id": "user",
    "uid": "user",
    "pwd": "password",
}


def parse_connection_string(text: str) -> dict[str, str]:
    """An ADO.NET connection string by ``server``, ``database``, ``user``, ``password``; quoted values are unquoted."""
    found = {}
    for key, double, single, bare in _PAIR.findall(text):
        name = _ALIASES.get(key.casefold(), key.casefold())
        found[name] = double.replace('""', '"') or single.replace("''", "'") or bare.strip()
    return found


def connection_string(server: str, database: str, user: str, password: str) -> str:
    """The other way round: any password fits, by ADO.NET's rule for quotes."""
    return f"Data Source={server};Initial Catalog={database};User ID={user};Password={_quoted(password)}"


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def site_connection(host: Host, folder: str, name: str = "EngageIP") -> dict[str, str]:
    """The connection string ``name`` of the site in ``folder``; raises ConfigurationError where there is none."""
    root = web_config(host, folder)
    if root is not None:
        for entry in root.iterfind("./connectionStrings/add"):
            if entry.get("name", "").casefold() == name.casefold():
                return parse_connection_string(entry.get("connectionString", ""))
    raise ConfigurationError(f"The connection name '{name}' was not found in the applications configuration.")
