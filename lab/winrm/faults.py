"""WS-Management faults, with the codes and texts that Windows answers with."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

_DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"
_WSMAN_FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
_WMI_ERROR = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError"
_SELECTORS = "The WS-Management service cannot process the request because the request contained invalid selectors for the resource. "
_CANNOT = "The WS-Management service cannot process the request. "


class WsmanFault(Exception):  # noqa: N818 - a fault is what the protocol calls it
    """A SOAP fault: HTTP 500 to the client, sealed like any other answer.

    ``text`` is the general reason, ``message`` the specific one; ``wmi`` sends the code as an MSFT_WmiError, which
    some quotas do, with no WSManFault code at all.
    """

    def __init__(
        self,
        code: int,
        subcode: str,
        text: str,
        message: str = "",
        *,
        value: str = "s:Sender",
        detail: str = "",
        wmi: bool = False,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.subcode = subcode
        self.text = text
        self.message = message or text
        self.value = value
        self.detail = detail
        self.wmi = wmi

    def body(self, machine: str) -> str:
        """The fault as the body of an answer."""
        detail = f"<w:FaultDetail>{_DETAIL}{self.detail}</w:FaultDetail>" if self.detail else ""
        if self.wmi:
            specific = (
                f'<p:MSFT_WmiError xmlns:p="{_WMI_ERROR}"><p:CIMStatusCode>27</p:CIMStatusCode>'
                f"<p:error_Code>{self.code}</p:error_Code><p:Message>{escape(self.message)}</p:Message></p:MSFT_WmiError>"
            )
        else:
            specific = (
                f'<f:WSManFault xmlns:f="{_WSMAN_FAULT}" Code="{self.code}" Machine={quoteattr(machine)}>'
                f"<f:Message>{escape(self.message)}</f:Message></f:WSManFault>"
            )
        return (
            f"<s:Fault><s:Code><s:Value>{self.value}</s:Value><s:Subcode><s:Value>{self.subcode}</s:Value></s:Subcode></s:Code>"
            f'<s:Reason><s:Text xml:lang="en-US">{escape(self.text)}</s:Text></s:Reason>'
            f"<s:Detail>{detail}{specific}</s:Detail></s:Fault>"
        )


def shell_not_found(shell_id: str) -> WsmanFault:
    return WsmanFault(
        2150858843,
        "w:InvalidSelectors",
        _SELECTORS,
        f"The request for the Windows Remote Shell with ShellId {shell_id} failed because the shell was not found on the server. "
        "Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the server. "
        "Provide the correct ShellId or create a new shell and retry the operation. ",
        detail="UnexpectedSelectors",
    )


def command_not_found() -> WsmanFault:
    return WsmanFault(
        2150858843,
        "w:InvalidSelectors",
        _SELECTORS,
        "The Windows Remote Shell received a request to perform an operation on a command identifier that does not exist. "
        "Either the command has completed execution or the client specified an invalid command identifier. ",
        detail="UnexpectedSelectors",
    )


def timed_out() -> WsmanFault:
    return WsmanFault(
        2150858793,
        "w:TimedOut",
        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  ",
        value="s:Receiver",
    )


def too_many_shells(most: int) -> WsmanFault:
    return _quota(
        2150859173,
        f"This user is allowed a maximum number of {most} concurrent shells, which has been exceeded. "
        "Close existing shells or raise the quota for this user. ",
    )


def too_many_operations(most: int) -> WsmanFault:
    return _quota(
        2150859174,
        f"This user is allowed a maximum number of {most} concurrent operations, which has been exceeded. "
        "Close existing operations for this user, or raise the quota for this user. ",
    )


def too_many_users(most: int) -> WsmanFault:
    return _quota(
        2150859179,
        f"The maximum number of concurrent shell users ({most}) has been exceeded. Retry after sometime or raise the quota. ",
    )


def _quota(code: int, text: str) -> WsmanFault:
    return WsmanFault(code, "w:QuotaLimit", _CANNOT + text)


def invalid_parameter() -> WsmanFault:
    return WsmanFault(87, "w:InvalidParameter", "The parameter is incorrect. ", detail="InvalidValue")


def action_not_supported() -> WsmanFault:
    return WsmanFault(2150858752, "a:ActionNotSupported", "The action is not supported by the service. ")


def unknown_resource(uri: str) -> WsmanFault:
    """Another plug-in than WinRS: to PowerShell remoting, a host whose session configuration was unregistered."""
    return WsmanFault(
        2150858811,
        "a:DestinationUnreachable",
        f"{_CANNOT}The resource URI ({uri}) was not found in the WS-Management catalog. "
        "The catalog contains the metadata that describes resources, or logical endpoints. ",
        detail="InvalidResourceURI",
    )


def file_not_found() -> WsmanFault:
    """What SKIP_CMD_SHELL with a bare program name ends in: without cmd.exe nobody searches PATH."""
    return WsmanFault(2147942402, "w:InternalError", "The system cannot find the file specified. ", value="s:Receiver")


def pipe_closed() -> WsmanFault:
    """Input for a process that has ended (ERROR_NO_DATA as an HRESULT)."""
    return WsmanFault(2147942632, "w:InternalError", "The pipe is being closed. ", value="s:Receiver")
