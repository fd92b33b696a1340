"""Titles of updates in the languages of Windows Server: which is a preview, a servicing stack, a cumulative update."""

from __future__ import annotations

import pytest

from model.titles import is_preview, is_servicing_stack, raises_build

PREVIEWS = [
    "2026-02 Cumulative Update Preview for Windows Server 2019 (KB1234567)",
    "2020-07 kumulative Update Vorschau für Windows 10, Version 2004 (KB4568831)",
    "2021-11 Kumulative Updatevorschau für Windows Server 2022 (KB1234567)",
    "2023-05 Aperçu de la mise à jour cumulative pour Windows Server 2022 (KB5026958)",
    "2020-07 Version préliminaire de la mise à jour Cumulative pour Windows 10 Version 2004 (KB4568831)",
    "2020-07 vista previa de actualización acumulativa para Windows 10, versión 2004 (KB4568831)",
    "Versión preliminar de actualización acumulativa 2020-07 para Windows 10 versión 2004 (KB4568831)",
    "Versão Prévia da Atualização Cumulativa 2020-07 Windows 10 versão 2004 (KB4568831)",
    "2020-07 Anteprima aggiornamento cumulativo per Windows 10 versione 2004 (KB4568831)",
    "2020-07 Windows 10 バージョン2004の累積的な更新プログラムのプレビュー (KB4568831)",
    "2020-07 Windows 10 버전 2004에 대 한 누적 업데이트 미리 보기 (KB4568831)",
    "2020-07 Windows 10 版本2004的累积更新预览 (KB4568831)",
    "2022-03 累積更新預覽 (KB5011563)",
]
STACKS = [
    "2024-09 Servicing Stack Update for Windows Server 2016 for x64-based Systems (KB5043124)",
    "2020-09 Wartungsstapelaktualisierung für Windows Server 2016 für x64-basierte Systeme (KB4576750)",
    "2024-09 Servicing Stack-Update für Windows Server 2016 (KB5043124)",
    "2020-11 Mise à jour de la pile de maintenance pour Windows Server 2016 (KB4590242)",
    "2020-10 Actualización de la pila de servicio para Windows Server 2016 (KB4583287)",
    "2020-10 Atualização da Pilha de Serviços para Windows Server 2016 (KB4583287)",
    "2016-08 Aggiornamento dello stack di manutenzione per Windows Server 2016 (KB3176936)",
    "2020-09 Aktualizacja stosu obsługi dla systemu Windows Server 2016 (KB4576750)",
    "Aktualizace servisního zásobníku pro Windows Server 2016 pro systémy na platformě x64 (KB4132216)",
    "2020-09 karbantartási verem frissítése a Windows Server 2016 x64-alapú rendszerekhez (KB4576750)",
    "Обновление стека обслуживания для Windows Server 2016 для x64-разрядных систем (KB4132216)",
    "X64 tabanlı sistemler için Windows Server 2016 için hizmet yığını güncelleştirmesi (KB4132216)",  # noqa: RUF001 - Turkish
    "Windows Server 2016 用サービス スタック更新プログラム (KB4132216)",
    "Windows Server 2016 용 서비스 스택 업데이트 (KB4132216)",
    "2024-09 服务堆栈更新 Windows Server 2016 (KB5043124)",
    "適用於 Windows Server 2016 (x64 型系統) 的服務堆疊更新 (KB4132216)",
]
CUMULATIVE = [
    "2026-02 Cumulative Update for Windows Server 2019 for x64-based Systems (KB5077181)",
    "2026-02 Cumulative Update for Microsoft server operating system version 21H2 (KB1)",
    "2020-10 Kumulatives Update für Windows Server 2016 für x64-basierte Systeme (KB4580346)",
    "2023-05 Mise à jour cumulative pour Windows Server 2022 (KB5026361)",
    "2019-04 összegző frissítés a Windows Server 2016 x64-alapú rendszerekhez (KB4493473)",
    "Накопительное обновление для Windows Server 2016 (KB4338822)",
    "2021-01 — zbiorcza aktualizacja dla systemu Windows Server 2016 (KB4598243)",
    "2017-12 x64 ベース システム用 Windows Server 2016 の累積更新プログラム (KB4053579)",
    "適用於 Windows Server 2016 (x64 型系統) 的 2018-07 累積更新 (KB4338822)",
    "Windows Server 2016 용 2018-07 누적 업데이트 (KB4338822)",
]
OTHERS = [
    "2026-02 Cumulative Update for .NET Framework 3.5, 4.8 for Windows Server 2022 (KB2)",
    "Cumulative Security Update for Internet Explorer 11 (KB3)",
    "Windows Malicious Software Removal Tool x64 - v5.120 (KB890830)",
    "Aktualizacja zabezpieczeń dla programu Microsoft Silverlight (KB978464)",
]


@pytest.mark.parametrize("title", PREVIEWS)
def test_previews(title: str) -> None:
    """In the words of Microsoft's own pages; a preview of a cumulative update would raise the build as well."""
    assert is_preview(title)
    assert not is_servicing_stack(title)


@pytest.mark.parametrize("title", STACKS)
def test_servicing_stacks(title: str) -> None:
    """Neither previews, nor what raises the build."""
    assert is_servicing_stack(title)
    assert not is_preview(title)
    assert not raises_build(title)


@pytest.mark.parametrize("title", CUMULATIVE)
def test_cumulative_updates_of_windows(title: str) -> None:
    """They raise the build, in whatever language the host has."""
    assert raises_build(title)
    assert not is_preview(title)
    assert not is_servicing_stack(title)


@pytest.mark.parametrize("title", OTHERS)
def test_what_is_none_of_them(title: str) -> None:
    """Cumulative updates of other products leave the build of Windows as it is."""
    assert not any(says(title) for says in (is_preview, is_servicing_stack, raises_build))
