"""The rows of the matrix; importing them declares them, in the order of the table."""

from tests.reliability.rows import reading, attacks, page, damage, writing  # noqa: F401
