"""In what order hosts restart: SQL Servers first, then what asks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class DependencyCycle(ValueError):  # noqa: N818
    """Hosts that wait for each other; ``hosts`` names them in a circle."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts
        super().__init__(" waits for ".join((*hosts, hosts[0])))


def default_dependencies(host: str, roles: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Where an estate does not say: a host with iis or app waits for every mssql host but itself; others for none."""
    if not {"iis", "app"} & set(roles[host]):
        return ()
    return tuple(name for name, its in roles.items() if "mssql" in its and name != host)


def waves(dependencies: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The hosts in waves, each depending only on earlier ones; raises DependencyCycle naming the circle."""
    done: set[str] = set()
    order: list[tuple[str, ...]] = []
    while len(done) < len(dependencies):
        ready = tuple(h for h, needs in dependencies.items() if h not in done and done.issuperset(needs))
        if not ready:
            raise DependencyCycle(_circle(dependencies, done))
        order.append(ready)
        done.update(ready)
    return tuple(order)


def _circle(dependencies: Mapping[str, Sequence[str]], done: set[str]) -> tuple[str, ...]:
    host = next(h for h in dependencies if h not in done)
    walked: list[str] = []
    while host not in walked:
        walked.append(host)
        host = next(h for h in dependencies[host] if h not in done)
    return tuple(walked[walked.index(host) :])
