"""The exceptions that `rerank` raises on purpose.

A message says what was got, what was expected and the way out, in one line. Anything that is
not a `RerankError` is a bug and keeps its traceback.
"""


class RerankError(ValueError):
    """Input, settings or state that cannot be worked with."""


class FormatError(RerankError):
    """A file that cannot be read as what it was taken for; the message names it."""


class RerankWarning(UserWarning):
    """What the user should know of a result; only those of this package are shown by commands."""


class NeedsEmbeddings(RerankError, TypeError):
    """A method that rewrites embeddings was given stored scores."""
