r"""IIS on one host: which sites listen where, which pool serves them, and what http.sys answers by itself.

The configuration is the host's ``iis.json``::

    {"sites": {"AdminPortal": {"id": 1, "state": "Started", "path": "C:\\...", "pool": "AdminPortal",
                               "app": "admin-portal" | "customer-portal" | "static",
                               "bindings": [{"protocol": "http", "bindingInformation": "*:8080:", ...}]}},
     "pools": {"AdminPortal": {"state": "Started", "startMode": "AlwaysRunning" | "OnDemand", "runtime": "v4.0"}},
     "modules": ["RewriteModule"]}

Whoever changes that file calls ``reload()``. Faults: ``web.error`` (on a site, or host/site; ``status``), ``web.slow``
(the same; ``seconds`` of lab time), ``pool.stuck`` (on a pool; ``seconds``), ``payments.late`` (on the host; ``seconds``:
customers submit an eCheck batch of that length just before the maintenance page takes their portal).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.host import Host
from lab.web.database import Database, SqlServer
from lab.web.events import ERROR, log_event
from lab.web.listener import Listener
from lab.web.messages import Answer, Request, invalid_host, not_found, unavailable, yellow_page
from lab.web.portal import AdminPortal, CustomerPortal
from lab.web.static import offline_page, serve_static
from lab.web.worker import Worker

APPLICATIONS: dict[str, type[AdminPortal | CustomerPortal]] = {
    "admin-portal": AdminPortal,
    "customer-portal": CustomerPortal,
}


class Iis:
    """The web server of ``host``; ``sql`` gives the SQL Server that its sites depend on, None while that is away.

    ``tls`` holds the certificate of https bindings; without it sites that have any do not start. Nothing listens
    before ``boot()``.
    """

    def __init__(self, host: Host, sql: Callable[[], SqlServer | None], *, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self._sql = sql
        self._tls = tls
        self._lock = threading.RLock()
        self._listeners: dict[int, Listener] = {}
        self._routes: dict[tuple[int, str], str] = {}
        self._workers: dict[str, tuple[Worker, float]] = {}

    # What the host and the scripts call ------------------------------------------------------------------------------

    def boot(self) -> None:
        """Come up with the machine, or its services: fresh workers, and the ports of the started sites.

        Stopping a pool or a site is a signal, not configuration: what has autoStart is started again.
        """
        self._end_workers()
        with self._host.edit("iis.json") as state:
            for entry in [*state.get("sites", {}).values(), *state.get("pools", {}).values()]:
                entry["state"] = "Started" if entry.get("autoStart", True) else "Stopped"
        self.reload()
        if self._running():
            self._host.event("iis.start", effect=False, ports=sorted(self._listeners))

    def shutdown(self) -> None:
        """Go down with the machine (or with the lab): every port closes, every worker ends."""
        self._end_workers()
        self._listen({})

    def last_customers(self) -> None:
        """The maintenance page is about to go up: whoever was quicker has submitted payments."""
        late = self._host.faults.strike("payments.late", self._host.name)
        instance: Any = self._sql()
        if late is not None and instance is not None:
            instance.work.payment_batch(float(late.get("seconds", 60)))

    def service(self, name: str, started: bool) -> None:
        """Follow the services W3SVC and WAS."""
        if name.casefold() in ("w3svc", "was"):
            if started:
                self.boot()
            else:
                self.shutdown()

    def reload(self) -> None:
        """Follow ``iis.json``: open and close ports, move bindings, end the workers of stopped pools and sites."""
        with self._lock:
            state = self._host.read("iis.json")
            pools = state.get("pools", {})
            self._end_workers(lambda site, worker: not _serves(state, site, worker.pool))
            self._listen(self._register(state) if self._running() else {})
            for name, site in state.get("sites", {}).items():
                awake = pools.get(site.get("pool"), {}).get("startMode") == "AlwaysRunning"
                if awake and name in self._routes.values() and _serves(state, name, site["pool"]):
                    worker = self._worker(name, site)
                    if worker is not None:
                        threading.Thread(target=worker.start, name=f"w3wp-{name}", daemon=True).start()

    def recycle(self, pool: str) -> None:
        """End the pool's workers; the next request (or AlwaysRunning) starts fresh ones."""
        self._host.event("iis.recycle", effect=False, pool=pool)
        self._end_workers(lambda _site, worker: worker.pool == pool)
        self.reload()

    # Ports -----------------------------------------------------------------------------------------------------------

    def _running(self) -> bool:
        services = {name.casefold(): entry for name, entry in self._host.read("services.json").items()}
        both = [services.get("w3svc", {"status": "Stopped"}), services.get("was", {"status": "Running"})]
        return self._host.up.is_set() and all(entry.get("status") == "Running" for entry in both)

    def _register(self, state: dict[str, Any]) -> dict[tuple[int, str], str]:
        """The prefixes of the started sites; a site that finds one taken does not start, as IIS words it."""
        sites = {name: site for name, site in state.get("sites", {}).items() if site.get("state") == "Started"}
        wanted = {name: [_prefix(binding) for binding in _web_bindings(site)] for name, site in sites.items()}
        secure = {_prefix(b)[0] for site in sites.values() for b in _web_bindings(site) if b.get("protocol") == "https"}
        held = {name: all(self._routes.get(prefix) == name for prefix in wanted[name]) for name in sites}
        routes: dict[tuple[int, str], str] = {}
        for name in sorted(sites, key=lambda each: (not held[each], sites[each].get("id", 0))):
            taken = next(
                (each for each in wanted[name] if each in routes or not self._free(each[0], each[0] in secure)), None
            )
            if taken is None:
                routes.update(dict.fromkeys(wanted[name], name))
            else:
                self._refuse(name, sites[name], taken)
        return routes

    def _free(self, port: int, secure: bool) -> bool:
        """Whether the port is ours already, or can be opened (it stays open then)."""
        if secure and self._tls is None:
            return False
        if port not in self._listeners:
            tls = self._tls if secure else None
            try:
                self._listeners[port] = Listener(self._host.address, port, self._answer, tls=tls)
            except PermissionError:
                # Port 80 on a laptop: nobody can reach it here, but on Windows the site would start.
                return True
            except OSError:
                return False
        return True

    def _refuse(self, name: str, site: dict[str, Any], prefix: tuple[int, str]) -> None:
        with self._host.edit("iis.json") as state:
            state["sites"][name]["state"] = "Stopped"
        self._end_workers(lambda each, _worker: each == name)
        url = f"http://{prefix[1] or '*'}:{prefix[0]}/"
        self._host.event("iis.site_failed", site=name, prefix=url)
        log_event(
            self._host,
            "System",
            ("Microsoft-Windows-IIS-W3SVC", 1007),
            ERROR,
            f"The World Wide Web Publishing Service (WWW Service) did not register the URL prefix {url} for site "
            f"{site.get('id')}. The necessary network binding may already be in use. The site has been disabled.",
            UrlPrefix=url,
            SiteID=str(site.get("id")),
        )

    def _listen(self, routes: dict[tuple[int, str], str]) -> None:
        with self._lock:
            self._routes = routes
            ports = {port for port, _host in routes}
            closing = [self._listeners.pop(port) for port in list(self._listeners) if port not in ports]
        for listener in closing:
            listener.close()

    # Workers ---------------------------------------------------------------------------------------------------------

    def _worker(self, name: str, site: dict[str, Any]) -> Worker | None:
        """The worker of an application's site; a touched web.config gives it a fresh one. None for plain files."""
        kind = APPLICATIONS.get(site.get("app", "static"))
        if kind is None:
            return None
        config: Path = self._host.disk.path(site["path"] + "\\web.config")
        touched = config.stat().st_mtime if config.exists() else 0.0
        with self._lock:
            worker, seen = self._workers.get(name, (None, 0.0))
            if worker is None or seen != touched:
                if worker is not None:
                    worker.ended.set()
                application = kind(self._host, Database(self._host, site["path"], self._sql))
                worker = Worker(self._host, name, site["pool"], application, self._replace)
                self._workers[name] = (worker, touched)
            return worker

    def _replace(self, hung: Worker) -> None:
        self._end_workers(lambda _site, worker: worker is hung)

    def _end_workers(self, which: Callable[[str, Worker], bool] = lambda _site, _worker: True) -> None:
        with self._lock:
            for name, (worker, _touched) in list(self._workers.items()):
                if which(name, worker):
                    worker.ended.set()
                    del self._workers[name]

    # Requests --------------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            name = self._routes.get((request.port, request.host)) or self._routes.get((request.port, ""))
        answer = invalid_host() if name is None else self._by_site(name, request)
        self._host.event(
            "web.request", effect=False, site=name, method=request.method, path=request.path, status=answer.status
        )
        return answer

    def _by_site(self, name: str, request: Request) -> Answer:
        state = self._host.read("iis.json")
        site = state.get("sites", {}).get(name, {})
        pool = state.get("pools", {}).get(site.get("pool"), {})
        if pool.get("state") != "Started":
            return unavailable()
        slow = self._strike("web.slow", name)
        if slow is not None:
            self._host.clock.sleep(float(slow.get("seconds", 30)))
        wrong = self._strike("web.error", name)
        if wrong is not None:
            status = int(wrong.get("status", 500))
            page = yellow_page("/", f"Fault of the lab: HTTP {status}", "[Exception]")
            return Answer(status, page.body, page.headers)
        worker = self._worker(name, site)
        if worker is None:
            return serve_static(self._host, site, pool, request)
        mount = APPLICATIONS[site["app"]].mount
        path, base = request.path.casefold(), mount.casefold()
        if path == base:
            where = mount + "/" + (f"?{request.query}" if request.query else "")
            return Answer.html(301, "<h1>Object Moved</h1>", Location=where)
        if not path.startswith(base + "/"):
            return not_found()
        return offline_page(self._host, site["path"]) or worker.answer(request)

    def _strike(self, fault: str, site: str) -> dict[str, Any] | None:
        return self._host.faults.strike(fault, f"{self._host.name}/{site}") or self._host.faults.strike(fault, site)


def _serves(state: dict[str, Any], site: str, pool: str) -> bool:
    """Whether this site still runs, in this pool, and the pool runs."""
    entry = state.get("sites", {}).get(site, {})
    started = entry.get("state") == "Started" and entry.get("pool") == pool
    return bool(started and state.get("pools", {}).get(pool, {}).get("state") == "Started")


def _web_bindings(site: dict[str, Any]) -> list[dict[str, Any]]:
    """The bindings of http.sys: net.tcp and its like belong to others."""
    return [binding for binding in site.get("bindings", []) if binding.get("protocol", "http") in ("http", "https")]


def _prefix(binding: dict[str, Any]) -> tuple[int, str]:
    """``*:8080:`` or ``10.0.0.5:80:portal.example`` as (port, host header); the lab's hosts have one address each."""
    _address, port, host = binding["bindingInformation"].rsplit(":", 2)
    return int(port), host.casefold()
