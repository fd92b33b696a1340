"""What the parts of an estate file must say about each other, checked on the file's values.

On values rather than on models, so that these faults are told together with misspelt fields: everything that is wrong,
at once. A rule therefore trusts no shape: it looks only at what has the form it speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, get_args

from model.estate_file import Document, Fault, Path
from model.hints import did_you_mean, shown
from model.hook_rules import HOOK_RULES, hook_credentials
from model.order import DependencyCycle, default_dependencies, waves
from model.package_rules import PACKAGE_RULES, credentials_kind
from model.parts import SYSTEM_DATABASES, Role
from model.sql.branches import level_of
from model.stores import patched_server
from model.words import split_url, url_port

Found = Iterator[tuple[Path, str]]
Rule = Callable[[Any], Found]


def rule_faults(document: Document) -> list[Fault]:
    """Every breach of a rule in ``document``, each with its place."""
    return [document.fault(path, message) for rule in _RULES for path, message in rule(document.data)]


# Looking at values ---------------------------------------------------------------------------------------------------


def _each(data: Any, pattern: str, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values under ``hosts/*/depends_on/*``; a key that is not there, or another form, yields nothing."""
    head, _, rest = pattern.partition("/")
    if not head:
        yield path, data
    elif head == "*":
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, value in items:
            yield from _each(value, rest, (*path, key))
    elif isinstance(data, dict) and head in data:
        yield from _each(data[head], rest, (*path, head))


def _texts(data: Any, pattern: str) -> Iterator[tuple[Path, str]]:
    return ((path, value) for path, value in _each(data, pattern) if isinstance(value, str))


def _mapping(data: Any, pattern: str) -> dict[str, Any]:
    return next((value for _, value in _each(data, pattern) if isinstance(value, dict)), {})


def _roles(data: Any) -> dict[str, tuple[str, ...]]:
    """Each host's roles, as far as they are words."""
    found: dict[str, tuple[str, ...]] = {}
    for name, host in _mapping(data, "hosts").items():
        roles = host.get("roles") if isinstance(host, dict) else None
        found[name] = tuple(r for r in roles if isinstance(r, str)) if isinstance(roles, list) else ()
    return found


def _roles_are_certain(roles: tuple[str, ...]) -> bool:
    """False where a misspelt role would make a rule about roles a second fault for one mistake."""
    return bool(roles) and set(roles) <= set(get_args(Role))


# Rules ---------------------------------------------------------------------------------------------------------------


def _known_hosts(data: Any) -> Found:
    hosts = _mapping(data, "hosts")
    if not hosts:
        return  # told already, and every reference would repeat it
    by_value = ("hosts/*/depends_on/*", "engageip/host", "engageip/sites/*/hosts/*", "updates/packages/*/on")
    for pattern in (*by_value, "quiet/busy/*/on", "checks/*/on"):
        for path, name in _texts(data, pattern):
            if name not in hosts:
                yield path, f"{shown(name)} is not a host of this estate{did_you_mean(name, hosts)}"
    for pattern in ("sql", "backup/folders", "backup/staging"):
        for name in _mapping(data, pattern):
            if name not in hosts:
                yield (
                    (*pattern.split("/"), name),
                    f"{shown(name)} is not a host of this estate{did_you_mean(name, hosts)}",
                )


def _host_names_differ(data: Any) -> Found:
    seen: dict[str, str] = {}
    for name in _mapping(data, "hosts"):
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield ("hosts", name), f"differs from '{other}' only in case; give each host a name of its own"


def _addresses_differ(data: Any) -> Found:
    seen: dict[tuple[str, Any], str] = {}
    for path, address in _texts(data, "hosts/*/address"):
        name = str(path[1])
        port = _mapping(data, f"hosts/{name}").get("port")
        other = seen.setdefault((address.casefold(), str(port)), name)
        if other != name:
            yield path, f"is the address of {other} too; a machine stands here once, with all its roles"


def _kerberos_knows_names(data: Any) -> Found:
    for path, transport in _texts(data, "hosts/*/transport"):
        host = _mapping(data, f"hosts/{path[1]}")
        address = str(host.get("kerberos_name", host.get("address", "")))
        if transport == "kerberos" and _is_ip_address(address):
            yield path, f"a domain knows no host by {address}; say kerberos_name, for example {path[1]}.acme.example"


def _is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _no_cycles(data: Any) -> Found:
    roles = _roles(data)
    dependencies: dict[str, tuple[str, ...]] = {}
    for name in roles:
        declared = [v for _, v in _each(data, f"hosts/{name}/depends_on") if isinstance(v, list)]
        needs = tuple(n for n in declared[0] if isinstance(n, str)) if declared else default_dependencies(name, roles)
        dependencies[name] = tuple(n for n in needs if n in roles)
    try:
        waves(dependencies)
    except DependencyCycle as cycle:
        if len(cycle.hosts) == 1:
            fix = "remove it from its own list"
        else:
            fix = "say depends_on so that one of them restarts first, for example depends_on: [] for that one"
        yield ("hosts", cycle.hosts[0], "depends_on"), f"{cycle}: {fix}"


def _sql_hosts(data: Any) -> Found:
    roles = _roles(data)
    sql = _mapping(data, "sql")
    for name, its in roles.items():
        if "mssql" in its and name not in sql and isinstance(data.get("sql", {}), dict):
            example = f"sql: {{{name}: {{credentials: sql-acme, databases: [EngageIP]}}}}"
            yield (
                ("hosts", name, "roles"),
                f"{name} is an mssql host without an entry under sql; add for example {example}",
            )
    for name in sql:
        if name in roles and _roles_are_certain(roles[name]) and "mssql" not in roles[name]:
            yield (
                ("sql", name),
                f"{name} does not have the role mssql; add it under hosts.{name}.roles, or remove this entry",
            )


def _roles_fit(data: Any) -> Found:
    wanted = {
        "engageip/host": ("iis", "app"),
        "engageip/sites/*/hosts/*": ("iis",),
        "quiet/busy/*/on": ("mssql",),
    }
    roles = _roles(data)
    found = [(path, name, need) for pattern, need in wanted.items() for path, name in _texts(data, pattern)]
    found += [
        ((*p, "on"), c["on"], ("mssql",))
        for p, c in _each(data, "checks/*")
        if isinstance(c, dict) and "sql" in c and isinstance(c.get("on"), str)
    ]
    where = {"mssql-patch": ("mssql",), "engageip-upgrade": ("iis", "app")}
    found += [
        ((*p, "on"), package["on"], where[package["kind"]])
        for p, package in _each(data, "updates/packages/*")
        if isinstance(package, dict) and isinstance(package.get("on"), str) and str(package.get("kind")) in where
    ]
    for path, name, need in found:
        its = roles.get(name, ())
        if _roles_are_certain(its) and not set(need) & set(its):
            yield (
                path,
                f"{name} has not the role {' or '.join(need)}; name a host that has, or add the role under hosts.{name}.roles",
            )
    engageip = _mapping(data, "engageip").get("host")
    its = roles.get(engageip, ()) if isinstance(engageip, str) else ()
    for path, site in _each(data, "engageip/sites/*"):
        if isinstance(site, dict) and "hosts" not in site and _roles_are_certain(its) and "iis" not in its:
            yield path, f"{engageip} has not the role iis, so it cannot serve this site; say hosts: [web01]"


def _known_sites(data: Any) -> Found:
    sites = [name for _, name in _texts(data, "engageip/sites/*/name")]
    if not sites:
        return  # told already
    for path, name in _texts(data, "checks/*/http"):
        if name not in sites:
            yield path, f"{shown(name)} is not a site under engageip.sites{did_you_mean(name, sites)}"


def _known_databases(data: Any) -> Found:
    for pattern in ("quiet/busy/*", "checks/*"):
        for path, value in _each(data, pattern):
            if not isinstance(value, dict) or not isinstance(value.get("database"), str):
                continue
            on, database = value.get("on"), value["database"]
            declared = [d for _, d in _texts(data, f"sql/{on}/databases/*")]
            if declared and database.casefold() not in {d.casefold() for d in (*declared, *SYSTEM_DATABASES)}:
                hint = did_you_mean(database, declared)
                yield (*path, "database"), f"{shown(database)} is not among sql.{on}.databases{hint}"


def _names_differ(data: Any) -> Found:
    for pattern in ("engageip/sites/*/name", "updates/packages/*/name", "quiet/busy/*/name", "checks/*/name"):
        yield from _twice(_texts(data, pattern))
    for name in _mapping(data, "sql"):
        yield from _twice(_texts(data, f"sql/{name}/databases/*"))
    for name in _mapping(data, "backup/folders"):
        yield from _twice(_texts(data, f"backup/folders/{name}/*"))
    yield from _twice(_texts(data, "engageip/services/*"))


def _twice(found: Iterator[tuple[Path, str]]) -> Found:
    seen: set[str] = set()
    for path, name in found:
        if name.casefold() in seen:
            yield path, f"{shown(name)} stands here twice; remove or rename one"
        seen.add(name.casefold())


def _private_checks(data: Any) -> Found:
    for path, site in _each(data, "engageip/sites/*"):
        url, check = (site.get("url"), site.get("check_url")) if isinstance(site, dict) else (None, None)
        if not isinstance(url, str) or not isinstance(check, str):
            continue
        try:
            public, private, hostname = url_port(url), url_port(check), split_url(check).hostname
        except ValueError:
            continue
        if public == private:
            yield (
                (*path, "check_url"),
                (
                    f"port {private} is the public binding's, which the maintenance page takes; give the site a second "
                    "binding for checks, for example http://{host}:8081/AdminPortal"
                ),
            )
        nodes = site.get("hosts")
        if isinstance(nodes, list) and len(nodes) > 1 and hostname != "{host}":
            yield (
                (*path, "check_url"),
                "names one node, but the site has several; write {host} where the node's name stands",
            )


def _one_kind_each(data: Any) -> Found:
    kinds = {"hosts/*/credentials": "winrm", "sql/*/credentials": "sql", "notify/webhook": "webhook"}
    seen: dict[str, str] = {}
    found = [(path, name, kind) for pattern, kind in kinds.items() for path, name in _texts(data, pattern)]
    for path, store in _each(data, "backup/stores/*"):
        name = store.get("credentials") if isinstance(store, dict) else None
        if isinstance(name, str) and ("share" in store) != ("s3" in store):
            found.append(((*path, "credentials"), name, "share" if "share" in store else "s3"))
    found += [(path, name, "share") for path, name in _texts(data, "updates/credentials")]
    found += [(path, name, "api") for path, name in hook_credentials(data)]
    for pattern in ("updates/packages/*", "updates/packages/*/schema_version/script"):
        for path, name in _texts(data, f"{pattern}/credentials"):
            source = next((text for at, text in _texts(data, f"{pattern}/source") if at[:-1] == path[:-1]), "")
            if kind := credentials_kind(source):
                found.append((path, name, kind))
    for path, name, kind in found:
        other = seen.setdefault(name, kind)
        if other != kind:
            # Not repeated by name: where it is a secret by mistake, it must not reach a log.
            yield path, f"this block is used for {other} elsewhere, here for {kind}; each kind has a block of its own"


def _off_the_servers(data: Any) -> Found:
    names = {str(name): str(name) for name in _mapping(data, "hosts")}
    names |= {address: str(path[1]) for path, address in _texts(data, "hosts/*/address")}
    for path, share in _texts(data, "backup/stores/*/share"):
        if server := patched_server(share, names):
            where = names.get(server, "the host itself that sends there")
            yield (
                path,
                f"lies on {where}, which is patched; a backup counts only off the servers: name another machine",
            )


def _update_source(data: Any) -> Found:
    shares = [share.casefold().rstrip("\\") for _, share in _texts(data, "backup/stores/*/share")]
    updates = _mapping(data, "updates")
    if not isinstance(updates.get("source"), str) or "credentials" in updates:
        return
    source = updates["source"].casefold()
    if source.startswith("\\\\") and not any(source.startswith(f"{share}\\") for share in shares):
        yield (
            ("updates", "source"),
            "lies on a share without credentials; add credentials: with the block of that share",
        )


def _branches_agree(data: Any) -> Found:
    for path, package in _each(data, "updates/packages/*"):
        build = package.get("build") if isinstance(package, dict) else None
        if not isinstance(build, str) or not re.fullmatch(r"\d{1,5}(\.\d{1,5}){3}", build, re.ASCII):
            continue
        level, word = level_of(build), package.get("branch")
        is_cu = level is not None and level.branch == "cu"
        if level is None or word not in ("gdr", "cu", "leave-gdr") or is_cu == (word != "gdr"):
            continue
        yield (*path, "branch"), f"{build} is {level}, so {word} is not true of it; correct it, or leave it out"


def _kbs_agree(data: Any) -> Found:
    def number(value: Any) -> str:
        return str(value).strip().upper().removeprefix("KB")

    rejected = {number(kb) for _, kb in _each(data, "updates/kb_reject/*")}
    for path, kb in (*_each(data, "updates/kb_accept/*"), *_each(data, "updates/unlocked/*")):
        if number(kb) in rejected:
            yield path, f"KB{number(kb)} is under kb_reject too; remove it from one of them"


def _something_must(data: Any) -> Found:
    checks = [check for _, check in _each(data, "checks/*")]
    if checks and all(_only_should(check) for check in checks):
        example = "{http: AdminPortal, severity: must}"
        yield ("checks",), f"no check has severity must, so portals would reopen unproven; add for example {example}"


def _only_should(check: Any) -> bool:
    """True for a check that is surely no must: said so, or an event log's, whose severity is should unless said."""
    if not isinstance(check, dict):
        return False
    return bool(check.get("severity", "should" if "event_log" in check else "must") == "should")


_RULES: tuple[Rule, ...] = (
    _known_hosts,
    _host_names_differ,
    _addresses_differ,
    _kerberos_knows_names,
    _no_cycles,
    _sql_hosts,
    _roles_fit,
    _known_sites,
    _known_databases,
    _names_differ,
    _private_checks,
    _one_kind_each,
    _off_the_servers,
    _branches_agree,
    _kbs_agree,
    _something_must,
    _update_source,
    *PACKAGE_RULES,
    *HOOK_RULES,
)
