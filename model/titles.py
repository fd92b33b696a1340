"""What the title of an update says of its kind. Titles come in the host's language, their classifications do not.

Known are the languages that Windows Server comes in: English, German, French, Spanish, Portuguese, Italian, Dutch,
Swedish, Polish, Czech, Hungarian, Russian, Turkish, Japanese, Korean and Chinese. The words are those of Microsoft's own
pages, but for previews in Dutch, Swedish, Polish, Czech, Hungarian, Russian and Turkish: there they are the usual ones. A
title may still use another word.
"""

from __future__ import annotations

import re

_PREVIEW = re.compile(
    r"preview|vorschau|vorabversion|aperçu|préversion|version préliminaire|vista previa|versión preliminar"
    r"|pré-?visualização|prévia|versão preliminar|anteprima|voorbeeld(?:versie)?\b|förhandsversion|förhandsgranskning"
    r"|podgląd|wersja zapoznawcza|náhled|előzetes|előnézet|предварительн|önizleme|プレビュー|미리 ?보기|预览|預覽",
    re.IGNORECASE,
)
_SERVICING_STACK = re.compile(
    r"servicing[ -]stack|(?:wartungs|bereitstellungs)stapel|pile de maintenance|pila de (?:servicio|mantenimiento)"
    r"|pilha de (?:serviço|manutenção)|stack di manutenzione|(?:onderhouds|service)stack|underhållsstack"
    r"|stosu obsługi|(?:servisního )?zásobníku(?: údržby)?|karbantartási verem|стека обслуживания|hizmet yığını"  # noqa: RUF001 - Turkish
    r"|サービス ?スタック|서비스 스택|服务堆栈|服務堆疊",
    re.IGNORECASE,
)
# German, Dutch, French, Italian, Spanish, Portuguese, Swedish and Czech share a stem with English.
_CUMULATIVE = re.compile(
    r"[ck]umulat|skumulowan|zbiorcza aktualizacj|összegző|накопительн|toplu güncel|累積|累积|누적", re.IGNORECASE
)
_NOT_OF_WINDOWS = re.compile(r"\.NET|Internet Explorer|\bDynamic\b|\bSQL\b|\bOffice\b|\bExchange\b", re.IGNORECASE)


def is_preview(title: str) -> bool:
    """Whether it is next month's update before its time."""
    return _PREVIEW.search(title) is not None


def is_servicing_stack(title: str) -> bool:
    """Whether it renews what installs all others."""
    return _SERVICING_STACK.search(title) is not None


def raises_build(title: str) -> bool:
    """Whether an update of that title is a cumulative one of Windows: once it is in, the build (UBR) is a higher one."""
    return _CUMULATIVE.search(title) is not None and _NOT_OF_WINDOWS.search(title) is None
