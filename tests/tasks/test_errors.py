"""What a person is told is text, whatever the names in a file hold."""

import pytest

from cryovox.tasks.errors import Problem, Refusal


def test_a_problem_says_what_where_got_wanted_and_fix_and_leaves_out_what_is_empty():
    problem = Problem("it is wrong", "a.yaml:3", got="x", fix="write y")
    assert str(problem) == "it is wrong\n  where:  a.yaml:3\n  got:    x\n  fix:    write y"
    assert str(Refusal([problem, problem])) == f"{problem}\n{problem}"


@pytest.mark.parametrize("evil", ["\x1b]0;mine\x07", "\x9b2J", "\r", "\x08", "\u202e", "\udcff", "\x7f"])
def test_what_moves_a_terminal_is_shown_and_not_obeyed(evil):
    text = str(Problem("an atom", "a.pdb", got=f"CA{evil}"))
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    assert "CA\\" in text
    text.encode()


def test_words_of_any_language_are_left_as_they_are():
    assert "naïve Å 構造 −3.0 ≥ ≤ “x”" in str(Problem("naïve Å 構造 −3.0 ≥ ≤ “x”", "here"))
