"""A Windows host's WinRM: WS-Management and its remote shell, with NTLM message encryption, TLS, quotas and faults.

``WinRM`` is the part that a host carries as ``host.parts["winrm"]``.
"""

from lab.winrm.accounts import Accounts, CertificateMapping, Domain
from lab.winrm.processes import Killed, Process, Program
from lab.winrm.server import WinRM
from lab.winrm.shells import Quotas
from lab.winrm.tap import WireTap

__all__ = ["Accounts", "CertificateMapping", "Domain", "Killed", "Process", "Program", "Quotas", "WinRM", "WireTap"]
