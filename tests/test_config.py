import pytest

from ml.cli import main
from ml.config import load_params, parse_params
from ml.errors import UsageError


def test_an_unknown_key_is_refused_and_the_nearest_known_one_named():
    with pytest.raises(UsageError, match=r"'trident\.training\.step'.*'trident\.training\.steps'"):
        parse_params({"trident": {"training": {"step": 5}}}, "params.yaml")


def test_a_value_out_of_bounds_is_named_with_its_key():
    with pytest.raises(UsageError, match=r"'snapshot\.val' is 2"):
        parse_params({"snapshot": {"val": 2}}, "params.yaml")


def test_a_missing_parameter_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml: no such file"):
        load_params(tmp_path / "nowhere.yaml")


def test_bad_yaml_is_one_sentence(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("a: [1")
    with pytest.raises(UsageError, match="not YAML"):
        load_params(path)


def test_a_misspelt_profile_names_the_nearest(capsys):
    assert main(["profile", "dmo"]) == 2
    assert "did you mean 'demo'" in capsys.readouterr().err


def test_params_yaml_is_the_demo_profile(tmp_path, monkeypatch):
    assert main(["profile", "demo", "--out", str(tmp_path / "p.yaml")]) == 0
    assert load_params(tmp_path / "p.yaml") == load_params()


def test_every_command_explains_itself(capsys):
    from ml.cli import COMMANDS

    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert COMMANDS[name].summary[1:20] in " ".join(capsys.readouterr().out.split())
