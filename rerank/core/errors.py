"""The exceptions that `rerank` raises on purpose.

A message says what was got, what was expected and the way out, in one line. Anything that is
not a `RerankError` is a bug and keeps its traceback.
"""

from rerank.core.wording import either


class RerankError(ValueError):
    """Input, settings or state that cannot be worked with."""


class FormatError(RerankError):
    """A file that cannot be read as what it was taken for; the message names it."""


class RerankWarning(UserWarning):
    """What the user should know of a result; only those of this package are shown by commands."""


class NeedsEmbeddings(RerankError, TypeError):
    """A method that rewrites embeddings was given stored scores."""

    @classmethod
    def by(cls, what: str, given: object) -> "NeedsEmbeddings":
        """The error of what works on embeddings alone, with the way out of whoever reads it.

        >>> NeedsEmbeddings.by("em rewrites embeddings", 1.5).args
        ('em rewrites embeddings, and these are scores; give texts and videos, or a Pair(queries,
        gallery), instead of float',)
        """
        return cls(
            either(
                f"{what}, and these are scores; give --videos and --texts instead of --sims",
                f"{what}, and these are scores; give texts and videos, or a Pair(queries, "
                f"gallery), instead of {type(given).__name__}",
            )
        )
