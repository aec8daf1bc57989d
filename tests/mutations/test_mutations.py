"""A fault planted in what turns a run into a number is seen by the test that is said to see it."""

import pytest
from mutations import MUTATIONS, ROOT, SOURCE, Mutation, caught


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_a_mutation_is_of_the_source_as_it_stands(mutation: Mutation) -> None:
    assert (SOURCE / mutation.file).read_text().count(mutation.old) == 1
    file, name = mutation.test.split("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.long
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_a_mutation_is_caught(mutation: Mutation) -> None:
    assert caught(mutation)
