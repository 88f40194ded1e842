"""Sample embeddings, made up by `make.py`: small files to try every command on."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
