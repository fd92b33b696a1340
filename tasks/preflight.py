"""Preflight: look at everything that the night needs, touch nothing, and tell all that is wrong at once."""

from __future__ import annotations

from datetime import UTC, datetime

from blocks.sql_errors import SqlServerError
from blocks.web import WebError
from blocks.winrm.errors import HostError
from model.estate import BackupItem, MssqlPatch
from model.night_risks import NightRisks, cautions, refused
from model.outcome import Problem, Stopped
from model.preflight import estate_problems, host_problems, sql_problems
from model.reboot import pending_verdict
from model.records import Caution, HostFacts
from model.sql.applicability import missing, patches_of_host, shared_with
from model.sql.facts import SqlFacts
from model.stores import LARGEST_PUT
from model.verdicts import judge_http
from model.window import may_start
from tasks.progress import tell
from tasks.run import Run
from tasks.sql_aftermath import setup_facts
from tasks.step import step
from tasks.web_readiness import askers, missing_way, no_way


@step("look at host {host}")
def look_at_host(run: Run, host: str) -> HostFacts:
    """What the host is and how it stands; what is wrong with it is told together with all else, by ``judge``."""
    services = [*run.estate.services_on(host)]
    if host in run.estate.hosts_with("iis"):
        services += ["W3SVC", "WAS"]
    facts = HostFacts.of(host, run.hosts[host].run("Get-HostFacts", services=services))
    run.risks[host] = NightRisks.of(run.hosts[host].run("Get-NightRisks"))
    if host in run.sql:
        run.setup[host] = setup_facts(run, host)
    return facts


@step("look at SQL Server of {host}")
def look_at_sql(run: Run, host: str) -> tuple[str, SqlFacts]:
    """The host's name, what its instance is, and the state of its databases."""
    return host, run.sql[host].facts()


@step("look at store {store}")
def look_at_bucket(run: Run, store: str) -> None:
    """That the bucket answers and lets us write; raises StoreError naming the right that is missing."""
    run.buckets[store].reachable()


@step("look at the size of {item}")
def look_at_size(run: Run, item: BackupItem) -> None:
    """That the backup of a database fits into one PUT, where it goes to S3; raises Stopped: else the night ends there."""
    try:
        size = run.sql[item.host].backup_bytes(item.subject)
    except SqlServerError:
        return  # which is told by look_at_sql, or judged by what that has found
    if size is not None and size > LARGEST_PUT:
        raise Stopped.because(
            "preflight",
            f"{item.host}: database {item.subject} takes {size / 1024**3:.1f} GB, and one PUT to S3 carries at most 5 GB. "
            "Take the buckets out of backup.stores, and send to shares.",
        )


def large_items(run: Run) -> list[BackupItem]:
    """What may be too large for a bucket, where backups go to one."""
    return [item for item in run.estate.backup_items() if item.kind == "database"] if run.buckets else []


@step("look at {site} on {node}")
def look_at_site(run: Run, site: str, node: str) -> None:
    """That the private check URL shows the site before anything is touched: afterwards it must prove that it works.

    A site that an unfinished run has left behind the maintenance page may be broken: going on with that run mends it.
    """
    url = run.estate.check_url(site, node)
    try:
        verdict = judge_http(run.web.get(url))
        why = "" if verdict.status == "passed" else f"{url} {verdict.detail}. Mend it before patching."
    except WebError as error:
        why = str(error)
    if why and _is_quiet(run, node):
        tell("preflight", node, f"{site} was left so by an unfinished run: {why}")
    elif why:
        raise Stopped.because("preflight", f"{site} on {node}: {why} Or correct its check_url in the estate file.")


@step("look how {host} reaches {sql}")
def look_at_way(run: Run, host: str, sql: str) -> None:
    """That a web server reaches SQL Server by the application's own name: after the restart it must, or the night fails."""
    try:
        lacks = missing_way(run, host, sql)
    except HostError:
        return  # which is told by look_at_host
    if not lacks:
        return
    if _is_quiet(run, host) or _is_quiet(run, sql):
        tell("preflight", sql, f"was left so by an unfinished run, and waits for {lacks}")
    else:
        raise Stopped.because("preflight", f"{sql}: SQL Server waits for {lacks}. {no_way(sql)}")


def _is_quiet(run: Run, host: str) -> bool:
    try:
        quiesce = run.hosts[host].run("Get-QuiesceState")["quiesce"]
    except HostError:
        return False
    return bool(quiesce) and quiesce["state"] == "open"


def site_nodes(run: Run) -> list[tuple[str, str]]:
    """Every site with each of its nodes."""
    return [(site.name, node) for site in run.estate.engageip.sites for node in run.estate.nodes_of(site.name)]


def ways(run: Run, hosts: list[HostFacts], instances: list[tuple[str, SqlFacts]]) -> list[tuple[str, str]]:
    """Every web server with each SQL Server that it asks, where both have answered."""
    answered = {facts.host for facts in hosts}
    return [(host, sql) for sql, _ in instances for host in askers(run.estate, sql) if host in answered]


def judge(run: Run, hosts: list[HostFacts], instances: list[tuple[str, SqlFacts]], unanswered: list[Problem]) -> None:
    """Keep the facts; raise Stopped with everything at once that speaks against patching this estate tonight."""
    run.facts = {facts.host: facts for facts in hosts}
    found = [
        *estate_problems(run.estate),
        *(problem for facts in hosts for problem in host_problems(run.estate, facts, datetime.now(UTC))),
        *(problem for host, facts in instances for problem in sql_problems(run.estate, host, facts)),
    ]
    for seen in hosts:
        found += refused(seen.host, run.risks[seen.host])
        for text in cautions(seen, run.risks[seen.host]):
            run.journal.write(Caution(host=seen.host, text=text))
            tell("preflight", seen.host, f"take care: {text}")
    for host, facts in instances:
        found += _judge_patches(run, host, facts) if host in run.setup else ()
    if unanswered or found:
        raise Stopped("preflight", [*unanswered, *map(Problem, found)])


def _judge_patches(run: Run, host: str, facts: SqlFacts) -> list[str]:
    """What speaks against the SQL Server patches of a host; what is to be known of the others is kept for the plan."""
    patches = [each for each in run.estate.updates.packages if isinstance(each, MssqlPatch) and each.on == host]
    instance, setup = run.estate.sql[host].instance, run.setup[host]
    seen = run.facts.get(host)
    pending = seen is not None and pending_verdict(seen.pending_reboot, before_sql_setup=True).due
    fits = patches_of_host(patches, instance, facts.build, facts.edition, setup, restart_pending=pending)
    for patch in patches:
        verdict = fits[patch.name]
        note = verdict.why if verdict.state == "not-needed" else shared_with(patch, instance, setup)
        if note and verdict.state != "refused":
            run.notes[patch.name] = f"not needed: {note}" if verdict.state == "not-needed" else note
            tell("preflight", host, f"{patch.name}: {run.notes[patch.name]}")
    verdicts = [missing(instance, setup), *fits.values()]
    return list(dict.fromkeys(f"{host}: {each.why}" for each in verdicts if each and each.state == "refused"))


def must_be_in_window(run: Run) -> None:
    """Promise 5: asked again before each step that customers notice; raises Stopped outside of the estate's window."""
    verdict = may_start(run.estate.window, run.estate.timezone, datetime.now(UTC))
    if not verdict.allowed:
        raise Stopped.because("window", f"{run.estate.name}: {verdict.reason}. Nothing is begun outside of it.")
