"""Puts the servers on the hosts: SQL Server, IIS, the task scheduler, the power; S3, the pager and the like beside them."""

from __future__ import annotations

from pathlib import Path

from lab.downloads import Downloads
from lab.host import Host
from lab.operations import Operations
from lab.pager import Pager
from lab.paper import APPLICATION_USER, S3_KEY, SQL_USER, Secrets
from lab.power import Power, show_logon
from lab.s3 import S3Store
from lab.spec import LabSpec
from lab.sql import Login, SqlInstance
from lab.tasks import Tasks
from lab.web.iis import Iis
from lab.web.install import install_site


class Wiring:
    """Everything but WinRM that serves in a lab; ``s3_address`` is where the object store, the pager and the like listen."""

    def __init__(
        self,
        spec: LabSpec,
        secrets: Secrets,
        hosts: dict[str, Host],
        s3_address: str,
        tls: tuple[Path, Path],
    ) -> None:
        self._spec = spec
        self._secrets = secrets
        self._hosts = hosts
        self._tls = tls
        self._sql_host = hosts[spec.sql_host.name]
        self._s3 = S3Store(
            s3_address,
            audit=self._sql_host.audit,
            clock=self._sql_host.clock,
            faults=self._sql_host.faults,
            bucket=spec.bucket,
            keys=(S3_KEY, secrets.s3),
        )
        self.s3_endpoint = self._s3.endpoint_url
        audit, faults = self._sql_host.audit, self._sql_host.faults
        self._pager = Pager(s3_address, secrets.pager, audit=audit, faults=faults)
        self.pager_url = self._pager.url
        self._operations = Operations(
            s3_address,
            secrets.operations,
            vms=hosts,
            nodes=[machine.name for machine in spec.web_hosts],
            audit=audit,
            clock=self._sql_host.clock,
            faults=faults,
        )
        self.operations_url = self._operations.url
        self._services_address = s3_address
        self._downloads: Downloads | None = None
        self.downloads_url = ""

    def serve_downloads(self, folder: Path, tls: tuple[Path, Path]) -> None:
        """Have a vendor's download server as well, before everything is started."""
        for file in self._spec.files:
            if file.at == "web":
                file.write(folder)
        audit, faults = self._sql_host.audit, self._sql_host.faults
        self._downloads = Downloads(self._services_address, folder, tls=tls, audit=audit, faults=faults)
        self.downloads_url = self._downloads.url

    def start(self) -> None:
        """Start everything as found on a first day: SQL Server is ready before IIS opens its first page."""
        self._s3.start()
        self._pager.start()
        self._operations.start()
        if self._downloads is not None:
            self._downloads.start()
        for file in self._spec.files:
            if file.at == "bucket":
                self._s3.keep(f"packages/{file.file}", file.data)
        for host in self._hosts.values():
            host.parts["power"] = Power(host)
            host.parts["tasks"] = Tasks(host)
            host.parts["operations"] = self._operations.ask
            show_logon(host)
        self._start_sql()
        for machine in self._spec.web_hosts:
            self._start_iis(self._hosts[machine.name])

    def stop(self) -> None:
        """End what is not a part of any host."""
        self._s3.stop()
        self._pager.stop()
        self._operations.stop()
        if self._downloads is not None:
            self._downloads.stop()

    def _start_sql(self) -> None:
        logins = (
            Login(SQL_USER, self._secrets.sql),
            Login(APPLICATION_USER, self._secrets.application, sysadmin=False),
        )
        instance = SqlInstance(
            self._sql_host,
            self._spec.databases,
            build=self._spec.sql_version,
            logins=logins,
            tls=(str(self._tls[0]), str(self._tls[1])),
        )
        self._sql_host.parts["sql"] = instance
        instance.start()

    def _start_iis(self, host: Host) -> None:
        for site in self._spec.sites:
            install_site(
                host,
                site.name,
                {site.port: "", site.check_port: ""},
                server=self._sql_host.address,
                user=APPLICATION_USER,
                password=self._secrets.application,
            )
        iis = Iis(host, self._reachable_sql)
        host.parts["iis"] = iis
        iis.boot()

    def _reachable_sql(self) -> SqlInstance | None:
        """The SQL Server as a web host finds it: nothing answers while its machine is down."""
        instance: SqlInstance = self._sql_host.parts["sql"]
        return instance if self._sql_host.up.is_set() else None
