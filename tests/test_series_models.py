"""Models of series: what they may say, expressions that are never run as code, courses and designs."""

import numpy as np
import pytest

from pulsespec.errors import DataError, InputError
from pulsespec.recon.series_courses import NAMED, follow
from pulsespec.recon.series_design import Events, design, read_events, response
from pulsespec.recon.series_expressions import parse
from pulsespec.recon.series_models import list_models, load_model, parse_model
from pulsespec.recon.series_order import joined, of_water, ordered, read_values
from pulsespec.recon.series_schema import Course, Parameter

X = np.array([0.0, 0.5, 1.0, 2.0, 4.0])


@pytest.mark.parametrize("name", list_models())
def test_shipped_models_load_and_name_themselves_and_their_source(name):
    model = load_model(name)
    assert model.name == name.replace("-", "_")
    assert "doi:" in model.source
    assert model.description


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "b.real",
        "(lambda: 1)()",
        "[b for b in (1, 2)]",
        "b if b else 1",
        "exp(exp(exp(100)))",
        "9 ** 9 ** 9",
        "A ** 1000",
        "exp(b * 0 + 1e6)",
        "exp",
        "A / 0",
        "f'{b}'",
        "'A'",
        "True * b",
        "exp(A, b)",
        "_A * b",
        "A := b",
        "A +" * 200,
        "1j * A",
        "lambda",
        "",
    ],
)
def test_an_expression_is_arithmetic_and_nothing_else(text):
    with pytest.raises(InputError, match="model"):
        parse(text, "b", "model")


@pytest.mark.parametrize(
    ("text", "linear", "nonlinear"),
    [
        ("A * exp(-b * ADC)", ("A",), ("ADC",)),
        ("A1 * exp(-b * D1) + A2 * exp(-b * D2)", ("A1", "A2"), ("D1", "D2")),
        ("A * (1 - 2 * eff * exp(-b / T1))", ("A",), ("eff", "T1")),
        ("c0 + c1 * b", ("c0", "c1"), ()),
        ("A * exp(-(b * D) ** alpha)", ("A",), ("D", "alpha")),
        ("exp(A) * b", (), ("A",)),
    ],
)
def test_what_is_linear_is_found(text, linear, nonlinear):
    expression = parse(text, "b", "model")
    assert (expression.linear, expression.nonlinear) == (linear, nonlinear)


@pytest.mark.parametrize(
    "name", [*NAMED, "A * exp(-(x * D) ** alpha)", "A * erf(x / T) + B * tanh(sqrt(x) * k)"]
)
def test_columns_and_slopes_equal_the_expression_and_its_differences(name):
    expression = parse(NAMED.get(name, name), "x", "model")
    psi = np.linspace(0.3, 0.7, len(expression.nonlinear))
    scope = {f: getattr(np, f) for f in ("exp", "sqrt", "tanh")} | {"x": X}
    scope["erf"] = np.vectorize(__import__("math").erf)
    amounts = dict.fromkeys(expression.linear, 2.0)
    expected = eval(expression.text, scope | amounts | dict(zip(expression.nonlinear, psi, strict=True)))
    np.testing.assert_allclose(expression.columns(X, list(psi)).sum(axis=1) * 2.0, expected, rtol=1e-12)
    slopes = expression.slopes(X, list(psi))
    for k, row in enumerate(slopes):
        step = 1e-6 * np.eye(psi.size)[k]
        numeric = (expression.columns(X, list(psi + step)) - expression.columns(X, list(psi - step))) / 2e-6
        np.testing.assert_allclose(row, numeric, atol=1e-7)


def test_a_course_says_which_parameter_lacks_what():
    def made(**given):
        return follow(Course(**given), "b", X, {}, 0, "concentrations")

    found = made(model="A * exp(-b * D)", parameters={"D": Parameter(lower=0.0, upper=3.0)})
    assert found.nonnegative == (True,)
    with pytest.raises(InputError, match="'D' needs lower and upper"):
        made(model="A * exp(-b * D)")
    with pytest.raises(InputError, match="'E' is not in"):
        made(model="A * exp(-b * D)", parameters={"E": Parameter()})
    with pytest.raises(InputError, match="does not depend on b"):
        made(model="A * B")
    with pytest.raises(InputError, match="proportional to none"):
        made(model="exp(-b * D)", parameters={"D": Parameter(lower=0.0, upper=3.0)})
    with pytest.raises(InputError, match="only unit and lower = 0"):
        made(model="A + c * b", parameters={"A": Parameter(upper=3.0)})
    with pytest.raises(InputError, match="none of its parameters"):
        made(model="fixed", derived={"double": "2 * B"})
    assert made(model="exponential").upper[0] == pytest.approx(10 / 0.5)
    assert made(model="A + c * b").nonnegative == (True, False)
    free = made(model="free")
    np.testing.assert_array_equal(free.columns(np.zeros(0)), np.eye(5))


def test_inversion_recovery_is_the_steady_state_of_its_shots():
    """Longitudinal magnetisation shot by shot: inversion with efficiency, recovery for TI, excitation by 90 degrees."""
    text = load_model("inversion-recovery").concentrations.model
    tr, t1, efficiency = 2500.0, 1300.0, 0.93
    for ti in (50.0, 700.0, 2000.0):
        mz = 1.0
        for _ in range(30):
            mz = 1 + ((1 - 2 * efficiency) * mz - 1) * np.exp(-ti / t1)
            seen, mz = mz, 1 - np.exp(-(tr - ti) / t1)
        expression = parse(text, "TI", "model", {"TR": tr})
        assert expression.nonlinear == ("efficiency", "T1")
        assert expression.columns(np.array([ti]), [efficiency, t1])[0, 0] == pytest.approx(seen, rel=1e-9)


MODEL = """
name = "one"
variable = {{ name = "b", unit = "1" }}
concentrations = {{ model = "fixed" }}
{extra}
"""


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("colour = 1", "colour: Extra inputs"),
        ('phase = { model = "exponential" }', "phase.model"),
        ('groups = [{ name = "a", members = ["Cr"] }, { name = "b", members = ["Cr"] }]', "two groups"),
        ("signed = true", "phase of 180 degrees"),
        ('shift = { model = "glm", regressors = ["rest"] }', "not among none"),
        ('shift = { model = "glm" }', "names no regressors"),
        ('regressors = [{ name = "a", kind = "column" }]', "names its column"),
        ("= 1", "not valid TOML"),
    ],
)
def test_a_wrong_model_names_file_and_key(extra, words):
    with pytest.raises(InputError, match=words) as error:
        parse_model(MODEL.format(extra=extra), "mine.toml")
    assert str(error.value).startswith("mine.toml")


def test_bounds_and_priors_are_checked():
    for wrong in (
        "{ lower = 2.0, upper = 1.0 }",
        "{ mean = 1.0 }",
        "{ start = 5.0, lower = 0.0, upper = 1.0 }",
    ):
        text = f'concentrations.model = "x"\nconcentrations.parameters.D = {wrong}\nname = "one"'
        with pytest.raises(InputError, match=r"parameters\.D"):
            parse_model(text, "mine.toml")


def test_an_unknown_model_names_those_that_ship():
    with pytest.raises(InputError, match="diffusion"):
        load_model("difusion")


def test_shots_are_ordered_by_cycle_block_or_their_own_values(tmp_path):
    three = read_values("0,1,2", "b")
    np.testing.assert_array_equal(ordered(6, "b", three, cycle=3).entry, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(ordered(6, "b", three, block=2).entry, [0, 0, 1, 1, 2, 2])
    table = tmp_path / "b.tsv"
    table.write_text("b\tdirection\n0\tx\n1\tx\n1\ty\n0\tx\n1\ty\n")
    found = ordered(5, "b", read_values(str(table), "b"))
    np.testing.assert_array_equal(found.entry, [0, 1, 2, 0, 2])
    np.testing.assert_array_equal(found.columns["b"], [0, 1, 1])
    np.testing.assert_array_equal(found.counts, [2, 1, 2])
    both = joined([found, ordered(2, "b", read_values("7,8", "b"))])
    np.testing.assert_array_equal(both.entry, [0, 1, 2, 0, 2, 3, 4])
    np.testing.assert_array_equal(both.columns["b"], [0, 1, 1, 7, 8])
    np.testing.assert_array_equal(of_water(ordered(6, "b", three, cycle=3), 3), [0, 1, 2])
    assert of_water(ordered(6, "b", three, block=2), 3) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cycle": 4}, "does not divide 6"),
        ({"cycle": 3, "block": 2}, "both"),
        ({"block": 3}, "3 rows of values, but --block 3 makes 2"),
        ({}, "--cycle N"),
        ({"cycle": 1}, "expected 2 to"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(given, words):
    table = None if given.get("cycle") == 1 else read_values("0,1,2", "b")
    with pytest.raises(InputError, match=words):
        ordered(6, "b", table, **given)


@pytest.mark.parametrize(
    ("text", "words"),
    [("b,c\n1\n", "different length"), ("b\none\n", "no number"), ("", "empty"), ("b,c\n", "no rows")],
)
def test_a_damaged_table_of_values_is_refused(tmp_path, text, words):
    path = tmp_path / "values.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_values(str(path), "b")
    for wrong in ("0;1", "0,nan", "", "1,,2"):
        with pytest.raises(InputError, match="neither a file nor numbers"):
            read_values(wrong, "b")


def test_regressors_follow_the_events_of_the_scan(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\ttrial_type\n40\t40\tflicker\n200\t1\tother\n")
    model = load_model("fmrs-block")
    order = ordered(60, "t", None, block=10)
    x = np.arange(6.0) * 20 + 9
    with pytest.raises(InputError, match="--events"):
        design(model, order, x, 2.0, None)
    found = design(model, order, x, 2.0, read_events(path))
    np.testing.assert_array_equal(found["stimulus"], [0, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(found["drift"], np.linspace(-1, 1, 6))
    assert found["bold"][2] < found["bold"][3]  # it lags
    assert found["bold"][0] == 0
    with pytest.raises(InputError, match="TR"):
        design(model, order, x, None, read_events(path))
    path.write_text("onset,duration\n1,2\n")
    with pytest.raises(DataError, match="tab-separated"):
        read_events(path)


def test_the_response_is_causal_and_of_unit_area():
    t = np.arange(0, 32, 0.1)
    shape = response(t)
    assert shape.sum() * 0.1 == pytest.approx(1.0)
    assert t[np.argmax(shape)] == pytest.approx(5.4, abs=0.5)
    assert response(np.array([-1.0]))[0] == 0.0
    long = Events(np.array([0.0]), np.array([300.0]), ("",), "here")
    model = load_model("fmrs-block")
    found = design(model, ordered(100, "t", None, block=1), np.arange(100.0), 3.0, long)
    assert found["bold"][60] == pytest.approx(1.0, abs=1e-3)
