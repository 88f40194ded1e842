"""The rows of the matrix; importing them declares them, in the order of the table."""

# ruff: noqa: F401, I001  the order is that of the table
from tests.reliability.rows import reading, attacks, page, damage, writing
from tests.reliability.rows import memory, commands
from tests.reliability.rows import crafted, bombs, numbers, laws, stores, worlds
