# The two commands of the README, and what developers need. Only Python 3.11+, pip and make are
# assumed to be there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench talk-demo talk-lastfm clean

demo: .venv/ready
	$(BIN)/coldstart demo --out runs/demo

test: .venv/ready lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python -m benchmarks

# The talk's experiments: on an invented catalogue, and on Last.fm (make talk-lastfm LASTFM=FOLDER).
talk-demo: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/invented/talk.sh runs/talk-demo

talk-lastfm: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/lastfm/talk.sh "$(LASTFM)" runs/talk-lastfm

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
