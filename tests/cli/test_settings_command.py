from pathlib import Path

from click.testing import CliRunner

from cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_holds_what_the_command_prints() -> None:
    printed = CliRunner().invoke(main, ["settings"]).output
    assert printed.count("\n| `FACEBENTO_") > 10
    assert printed in PAGE.read_text(encoding="utf-8")
