# Two commands do all the set-up: `make demo` runs the main job, `make test` the tests.
#
#   make own AUDIO=/path/to/folder     your own recordings, a folder of class folders: check them, compare methods, report
#   make own AUDIO=... NAME=birds      with another name than that of the folder
#   make demo MN04=/path/to/file.pt    with weights of mn04 that you have already, instead of fetching them; also for make own
#   make PYTHON=python3.12 test        with another Python than python3; after `make clean`, if .venv is there
#
# DATA_FOLDER (environment) chooses where everything is written; default: data/ of this repository.

PYTHON ?= python3
VENV   = .venv
PY     = $(VENV)/bin/python
AUDIO  =
MN04  ?=
NAME   =

# Recipes change folders, so a relative DATA_FOLDER is made absolute; $(abspath) would divide a path at its blanks.
# "override" also changes a value that is given as an argument of make.
ifdef DATA_FOLDER
override DATA_FOLDER := $(if $(filter /% ~%,$(firstword $(DATA_FOLDER))),,$(CURDIR)/)$(DATA_FOLDER)
export DATA_FOLDER
endif
export AUDIO MN04 NAME

.PHONY: demo own test test-long clean

demo: $(VENV)/ready
	@$(PY) aux/make_demo_sounds.py
	@$(PY) aux/index_folder.py "$$(cd src && ../$(PY) -c 'import shared; print(shared.data_folder())')/audio/demo" demo --replace
	@$(FETCH_MN04)
	@weights=$(if $(MN04),$$(realpath -e "$$MN04")) && cd src && ../$(PY) reproduce.py demo $(CHECKPOINT)

# A folder's name becomes that of the data set, without letters that file names should not have, and without a - or . that begins it.
own: $(VENV)/ready
	@test -n "$$AUDIO" || { echo "error: name your folder of class folders: make own AUDIO=/path/to/folder" >&2; exit 1; }
	@$(FETCH_MN04)
	@audio=$$(realpath -ms "$$AUDIO") && name=$${NAME:-$$(basename "$$audio" | tr -c 'A-Za-z0-9_.\n-' '_' | sed 's/^[-.]/_/')} && \
	   weights=$(if $(MN04),$$(realpath -e "$$MN04")) && \
	   { (cd src && ../$(PY) check.py "$$audio" --name="$$name"); code=$$?; test $$code -eq 0 -o $$code -eq 3; } && \
	   $(PY) aux/index_folder.py --folds auto -- "$$audio" "$$name" && cd src && \
	   ../$(PY) reproduce.py own datasets="$$name" $(CHECKPOINT) && \
	   echo && echo "next: cd src" && \
	   echo "      ../$(PY) fit.py $$name $(CHECKPOINT_SHOWN)" && \
	   echo "      ../$(PY) classify.py $$name /path/to/new/recordings --csv out.csv $(if $(MN04),--checkpoint '$$weights')"

CHECKPOINT       = $(if $(MN04),"checkpoint=$$weights")
CHECKPOINT_SHOWN = $(if $(MN04),'checkpoint=$$weights')
FETCH_MN04       = $(if $(MN04),:,$(PY) aux/download.py mn04 >$(VENV)/download.log 2>&1 || echo "mn04 could not be fetched" \
	   "($$(tail -n 1 $(VENV)/download.log | cut -c 1-150) ...): the methods that use it are left out. To use a file that you have, set MN04=/path/to/mn04_as_mAP_432.pt")

test: $(VENV)/ready
	@$(PY) -m pytest tests -n 2 --dist loadfile

test-long: $(VENV)/ready
	@$(PY) -m pytest tests -n 2 --dist loadfile -m long

# A .venv that is there is used, so that another PYTHON would be ignored.
ifneq ($(origin PYTHON),file)
VERSION = -c 'import sys; print("%d.%d" % sys.version_info[:2])'
.PHONY: same-python
same-python:
	@test ! -e $(VENV)/ready || { asked=$$($(PYTHON) $(VERSION)) && there=$$($(PY) $(VERSION)) && { test "$$asked" = "$$there" || \
	   { echo "error: .venv has Python $$there, PYTHON=$(PYTHON) is $$asked: run make clean first" >&2; exit 1; }; }; }
$(VENV)/ready: | same-python
endif

# The virtual environment is whole when the file `ready` is there and newer than the list of packages.
$(VENV)/ready: requirements.txt
	@$(PYTHON) aux/check_python.py
	@echo "creating .venv and installing the packages of requirements.txt (2.7 GB on disk, a minute or two) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --no-compile --disable-pip-version-check -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV)
