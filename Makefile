# The two commands of the README, and what developers need. Only Python 3.11+, pip and make are
# assumed to be there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test docs fuzz kills lint hashes bench talk-demo talk-lastfm clean

demo: .venv/ready
	$(BIN)/coldstart demo --out runs/demo

test: .venv/ready lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The documentation as a site: readable from disk, or with a search by
# `python -m http.server -d build/site`. The variable silences Material's notice of its successor.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo open build/site/index.html

# Every property, with FUZZ times as many examples as `make test` takes.
FUZZ ?= 20
fuzz: .venv/ready
	FUZZ=$(FUZZ) $(BIN)/python -m pytest -m hypothesis --timeout 0 tests

# 1,000 random SIGKILLs, after each of which the verb must go on to the same end.
kills: .venv/ready
	$(BIN)/python tests/end_to_end/kills.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The same versions with a hash of every file, for `pip install --require-hashes -r`; not kept here.
hashes: .venv/ready
	$(BIN)/uv pip compile pyproject.toml --all-extras -c constraints.txt --generate-hashes \
		--no-header --no-annotate --no-emit-index-url -q -o constraints-hashed.txt
	@echo wrote constraints-hashed.txt

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
