# One target per table and figure of the paper, and the only place where stages are chained. Start with `make help`.
# A thin face: everything here is also `python -m reproduce COMMAND ...` (trains, measures) or `python -m paper_tables COMMAND ...` (reports).

SHELL := bash
.DEFAULT_GOAL := help

##= PROFILE    paper (default), short, folder, short-folder, demo, smoke: a file of configs/profiles/
##= DATA       folder of the data
##= SEEDS      seeds per run, 0 to SEEDS-1 (default: as many as the paper ran)
##= GPUS       devices per run; NODES machines per run; JOBS runs at the same time, distributed over the GPUs
##= PRECISION  fp32, tf32, bf16; SET further key=value ("model.bn_group=64"); results then lie apart, in <profile>+<hash>
##= WEIGHTS    table3, table4, table6, fig1, fig6, fig7: folder of published weights, evaluated instead of training
##= WANDB      disabled (default), offline, online
##= SLURM      1: each missing training as a SLURM job (PARTITION, HOURS, CPUS, SLURM_ARGS: docs/slurm.md)
##= DRY_RUN    1: print runs, hours and disk, train nothing
##= PYTHON     the interpreter (default: the active environment, else .venv, made where there is none)
##= The other variables: docs/running.md
PROFILE ?= paper

# ---- The environment: an active one is used as it is; else .venv is made, and completed again when what belongs in it changes. ----

PYTHON3 ?= python3
CHROMIUM ?= chromium
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
INSTALLED := as-it-is
ifndef PYTHON
  ifneq ($(ACTIVE),)
    PYTHON := $(ACTIVE)/bin/python
  else
    PYTHON := .venv/bin/python
    INSTALLED := .venv/.installed
  endif
endif

.venv/.installed: pyproject.toml constraints.txt
	@.venv/bin/python -m pip --version > /dev/null 2>&1 || { \
	  $(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' > /dev/null 2>&1 || { \
	    echo "$(PYTHON3): Python 3.10 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON3=/path/to/python3" >&2; exit 2; }; \
	  $(PYTHON3) -m venv .venv; }
	@# Several of the tested versions have no release for Python 3.10: there the ranges of pyproject.toml decide.
	.venv/bin/python -m pip install --editable '.[dev]' \
	  $$(.venv/bin/python -c 'import sys; print("--constraint constraints.txt" if sys.version_info >= (3, 11) else "")')
	@touch $@

as-it-is:
	@$(PYTHON) -c 'import sys, importlib.util as u; \
	lack = ", ".join(m for m in ("jinja2", "matplotlib", "packaging", "pandas", "plotly", "rich", "yaml") if u.find_spec(m) is None); \
	sys.exit("$(PYTHON) lacks " + lack + ": leave that environment and make will make .venv, or complete it: " \
	  "$(PYTHON) -m pip install -c constraints.txt -e .[dev]" if lack else 0)'

# ---- How the stages are called ----

# Only the last stages would refuse these, after all the training.
one_of = $(if $(and $($(1)),$(if $(filter 1,$(words $($(1)))),$(filter-out $(2),$($(1))),more)),$(error $(1)=$($(1)): is not one of $(2)))
$(call one_of,BN,moving recomputed)
$(call one_of,PALETTE,safe paper)

# $(call quoted,VALUE): one word for the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'

# A misspelt variable would be ignored, and PROFIL=short train at full length. The table in docs/running.md says which there are; without
# that page nothing is checked.
VARIABLES = $(strip $(shell awk -F '|' '/^\| `[A-Z]/ { gsub(/[`,]/, "", $$2); print $$2 }' $(call quoted,$(dir $(firstword $(MAKEFILE_LIST)))docs/running.md) 2> /dev/null))
GIVEN     = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN  := $(if $(and $(MAKEOVERRIDES),$(VARIABLES)),$(firstword $(filter-out $(VARIABLES),$(GIVEN))))
NEAREST   = $(shell $(PYTHON3) -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' \
              $(call quoted,$(UNKNOWN)) $(VARIABLES) 2> /dev/null)
$(if $(UNKNOWN),$(error $(UNKNOWN): no such variable; $(or $(NEAREST:%=did you mean %?),there are $(VARIABLES)) (docs/running.md)))

# Published weights replace the training of these alone: with any other target WEIGHTS would be passed over, and days of training begin.
TAKE_WEIGHTS := table3 table4 table6 fig1 fig1-cifar fig6 fig6-cifar fig7 fig7-cifar
$(if $(WEIGHTS),$(if $(filter-out $(TAKE_WEIGHTS),$(MAKECMDGOALS)),$(error WEIGHTS goes with $(TAKE_WEIGHTS), not with $(filter-out $(TAKE_WEIGHTS),$(MAKECMDGOALS)))))
NO_TRAINING  := $(strip $(foreach name,SEEDS BN SLURM DRY_RUN,$(if $(filter-out 0,$($(name))),$(name))))
$(if $(and $(WEIGHTS),$(NO_TRAINING)),$(error WEIGHTS trains nothing and tests one net each: leave out $(NO_TRAINING)))

REPRODUCE = $(PYTHON) -m reproduce
PAPER     = $(PYTHON) -m paper_tables
RECIPE    = $(if $(PRECISION),train.precision=$(PRECISION)) $(SET)
EXECUTION = $(if $(DATA),data.root=$(call quoted,$(DATA))) $(if $(SHARDS),data.shards=$(call quoted,$(SHARDS))) $(if $(GPUS),execution.devices=$(GPUS)) $(if $(NODES),execution.nodes=$(NODES)) \
            $(if $(MICRO_BATCH),execution.micro_batch=$(MICRO_BATCH)) \
            $(if $(JOBS),execution.jobs=$(JOBS)) $(if $(WANDB),execution.wandb=$(WANDB))
OPTIONS   = $(strip --profile $(PROFILE) $(if $(SEEDS),--seeds $(SEEDS)) $(EXECUTION) $(RECIPE))
JOB       = $(strip $(if $(PARTITION),--partition $(call quoted,$(PARTITION))) $(if $(HOURS),--hours $(HOURS)) $(if $(CPUS),--cpus $(CPUS)) \
            $(if $(SLURM_ARGS),--sbatch=$(call quoted,$(SLURM_ARGS))) $(if $(filter-out 0,$(DRY_RUN)),--dry-run))
# The results folder: the profile's, or <profile>+<hash8> once a recipe value is given (eval.* is none: it moves no weight).
FOLDER    = $(if $(strip $(RECIPE)),$$($(REPRODUCE) profile-name $$runs --profile $(PROFILE) $(strip $(RECIPE))),$(PROFILE))

# $(call render,ARTEFACT...): ours beside the paper's, from results/ alone.
render = folder=$(FOLDER) || exit; $(PAPER) render $(1) --profile "$$folder"$(PAINT)
PAINT  = $(if $(PALETTE), --palette $(PALETTE))

# $(call reproduce,COMMAND THAT PRINTS RUN IDS,ARTEFACT...[,MEASURE]): train the runs, measure them by the commands MEASURE, render. A command may name its
# protocol, as evaluate:10-crop. A failed run (exit code 1) stops neither the other runs nor the page, but the exit code tells; anything else (bad input, a signal) stops.
define reproduce
@runs=$$($(1)) || exit; \
$(if $(filter-out 0,$(SLURM)),$(REPRODUCE) submit $$runs $(OPTIONS) $(JOB),\
$(if $(filter-out 0,$(DRY_RUN)),$(REPRODUCE) plan $$runs $(OPTIONS),failed=0; \
$(REPRODUCE) train $$runs $(OPTIONS) || { failed=$$?; [ $$failed -eq 1 ] || exit $$failed; }; \
$(foreach command,$(3),$(REPRODUCE) $(call measure,$(command),$$runs) || failed=$$?;) \
$(if $(BN),$(REPRODUCE) $(call measure,$(or $(filter evaluate%,$(3)),evaluate),$$runs) eval.bn_statistics=$(BN) || failed=$$?;) \
$(call render,$(2)) || failed=$$?; \
exit $$failed))
endef

# $(call measure,COMMAND[:PROTOCOL],RUNS)
measure = $(firstword $(subst :, ,$(1))) $(2) $(OPTIONS) $(if $(findstring :,$(1)),--protocol $(lastword $(subst :, ,$(1))))

# $(call published,NETS-COMMAND,PROTOCOL,ARTEFACT): published weights of nets or runs under a protocol, then the page. A claim that is not
# confirmed is said, and the page rendered all the same.
define published
@nets=$$($(1)) && runs=$$($(PAPER) runs $(3)) || exit; failed=0; \
$(REPRODUCE) published $$nets --weights $(call quoted,$(WEIGHTS)) --protocol $(2) $(strip --profile $(PROFILE) $(EXECUTION) $(RECIPE)) \
  || { failed=$$?; [ $$failed -eq 1 ] || exit $$failed; }; \
$(call render,$(3)) || failed=$$?; exit $$failed
endef

# ---- Targets ----

##@ Start here
help:                ## This list
	@awk '/^##@ / { print (n++ ? "\n" : "") substr($$0, 5) } /^##= / { variables = variables "\n  " substr($$0, 5) } \
	  /^[a-z][a-z0-9 -]*:.*## / { split($$0, part, /:.*## /); gsub(/ /, ", ", part[1]); printf "  %-24s %s\n", part[1], part[2] } \
	  END { print "\nVariables (make TARGET NAME=value ...)" variables }' $(firstword $(MAKEFILE_LIST))
demo:                ## Nets of 20 and 56 layers on synthetic images, and the report: a minute or two on two cores
doctor: $(INSTALLED) ## Is this machine fit for training? One line per finding
	@$(if $(FOR),runs=$$($(PAPER) runs $(FOR)) || exit; $(REPRODUCE) doctor $$runs $(OPTIONS),$(REPRODUCE) doctor)

sanity: $(INSTALLED) ## A minute before a long training: does RUN start to learn? Its images as a picture
	@$(if $(RUN),$(REPRODUCE) sanity $(RUN) $(OPTIONS),echo 'sanity: name the run: RUN=cifar10-resnet-20 (python -m reproduce runs)' >&2; exit 2)

##@ CIFAR-10: train what is missing, then render
table6:              ## Table 6: test error, 20 to 1202 layers
fig1-cifar fig1:     ## Figure 1: plain nets of 20 and 56 layers
fig6-cifar fig6:     ## Figure 6: training and test curves of all nets
fig7-cifar fig7:     ## Figure 7: standard deviations of the layer responses
footnotes-cifar:     ## Footnote 5 (a claim): ResNet-110 without warm-up

##@ ImageNet: the data
imagenet-prepare: $(INSTALLED) ## Official archives in TARS -> train/ and val/ in DATA; continues what was begun
	@$(REPRODUCE) prepare-imagenet $(if $(DATA),--root $(call quoted,$(DATA))) $(if $(TARS),--tars $(call quoted,$(TARS))) \
	  $(if $(LABELS),--labels $(call quoted,$(LABELS))) $(if $(filter-out 0,$(MD5)),--md5)
imagenet-shards: $(INSTALLED) ## Training images of DATA decoded once -> SHARDS; continues what was begun
	@$(REPRODUCE) imagenet-shards $(if $(DATA),--root $(call quoted,$(DATA))) $(if $(SIDE),--side $(SIDE)) $(if $(SHARDS),--shards $(call quoted,$(SHARDS)))
check-data: $(INSTALLED) ## Is the ImageNet folder DATA complete? DECODE=1 decodes every image
	@$(REPRODUCE) check-data $(if $(DATA),--root $(call quoted,$(DATA))) $(if $(filter-out 0,$(DECODE)),--decode) \
	  $(if $(SIDE),--side $(SIDE)) $(if $(SHARDS),--shards $(call quoted,$(SHARDS)))
bench-data: $(INSTALLED) ## Images per second of ImageNet's training view, against torchvision's pipeline
	@$(PYTHON) -m benchmarks data $(if $(IMAGES),--images $(call quoted,$(IMAGES))) && $(PAPER) speed data
bench-imagenet: $(INSTALLED) ## Images per second of ImageNet training
	@$(PYTHON) -m benchmarks imagenet $(if $(DATA),--root $(call quoted,$(DATA))) && $(PAPER) speed imagenet

##@ ImageNet: train what is missing, evaluate, then render
table2:              ## Table 2: plain nets and ResNets of 18 and 34 layers, 10-crop
table3:              ## Table 3: shortcut options A, B, C, and 50 to 152 layers, 10-crop
table4:              ## Table 4: single models, fully convolutional at five scales
table5:              ## Table 5: the nets of Table 4 as an ensemble, on the validation set
fig4-imagenet fig4:  ## Figure 4: training and validation curves, 18 and 34 layers
footnotes-imagenet:  ## Footnotes 3 and 4 (claims): plain-34 three times as long, plain-50

##@ No training: counted and drawn from the nets
table1:              ## Table 1: architectures for ImageNet
fig2:                ## Figure 2: the building block
fig3-architectures fig3: ## Figure 3: VGG-19, plain-34, ResNet-34
fig5:                ## Figure 5: the bottleneck block

##@ Out of scope: the paper's values, and why ours are not run
table7 table8 table9 table10 table11 table12: ## Detection: PASCAL VOC, COCO, ImageNet DET
table13 table14:     ## Localization: ImageNet

##@ Look (trains nothing)
report: $(INSTALLED) ## Every table and figure of PROFILE, from results/
	@$(call render,all)
check: $(INSTALLED)  ## Measured against the paper, within tolerance, and every claim; fails where one fails
	@folder=$(FOLDER) || exit; $(PAPER) check --profile "$$folder"
compare: $(INSTALLED) ## Runs beside each other: RUNS="a b" of PROFILE, or A=results/short B=results/paper
	@$(if $(RUNS),folder=$(FOLDER) || exit; $(PAPER) compare $(RUNS) --profile "$$folder",$(if $(and $(A),$(B)),$(PAPER) compare $(call quoted,$(A)) $(call quoted,$(B)), \
	  echo 'compare: name RUNS="a b", or A=results/short B=results/paper' >&2; exit 2))$(PAINT)
plan: $(INSTALLED)   ## What all trainings of the paper would take: hours, disk
	@runs=$$($(REPRODUCE) runs) || exit; $(REPRODUCE) plan $$runs $(OPTIONS)
status: $(INSTALLED) ## How far the runs of PROFILE are
	@$(REPRODUCE) status $(OPTIONS)

##@ Weights & Biases (trains nothing)
dashboard: $(INSTALLED) ## One view per table and figure, one report; DRY_RUN=1: only as files
	@folder=$(FOLDER) || exit; $(PAPER) artefacts --profile "$$folder" && \
	$(REPRODUCE) dashboard $(OPTIONS) --artefacts "report/$$folder/artefacts.json" \
	  $(if $(filter-out 0,$(DRY_RUN)),--out "report/$$folder/wandb")
wandb-publish: $(INSTALLED) ## Results that exist as files -> W&B runs, nothing twice
	@folder=$(FOLDER) || exit; $(REPRODUCE) wandb-publish --profile "$$folder" $(if $(WANDB),--wandb $(WANDB))

##@ Develop
SHARED := -n 2 --dist worksteal  # two tests at a time, and no worker idle while the other has some left
test test-all test-reliability: export OMP_NUM_THREADS = 1  # tiny tensors
test: $(INSTALLED)   ## Lint, types, tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -m "not slow" $(SHARED)
test-all: $(INSTALLED) ## Every test of the CPU, the slow ones too
	$(PYTHON) -m pytest $(SHARED)
test-gpu: $(INSTALLED) ## What only a CUDA device can show
	$(PYTHON) -m pytest -m gpu
test-reliability: $(INSTALLED) ## Interruptions, full disks, bad input: figures reached and demanded
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-1000} RELIABILITY=record $(PYTHON) -m pytest -m reliability $(SHARED)
smoke:               ## A few iterations of every run, evaluated and rendered (part of `make test`)
architectures: $(INSTALLED) ## Count the nets layer by layer again: results/architectures.json
	@$(REPRODUCE) architectures
bench: $(INSTALLED)  ## Speed of a training step, against a common loop and against bare PyTorch
	@$(PYTHON) -m benchmarks step && $(PAPER) speed step
bench-variants: $(INSTALLED) ## Speed of a step by precision, memory layout, compilation, CUDA graph, threads
	@$(PYTHON) -m benchmarks variants && $(PAPER) speed variants
bench-jobs: $(INSTALLED) ## Speed of several trainings at the same time on one device
	@$(PYTHON) -m benchmarks jobs && $(PAPER) speed jobs
bench-report: $(INSTALLED) ## Seconds that the whole report of PROFILE takes, imports and rendering
	@$(PYTHON) -m benchmarks.report --profile $(PROFILE) && $(PAPER) speed report
picture: $(INSTALLED) ## PROFILE's report and a picture of its front page: report/<profile>/index.png
	@$(call render,all) && $(CHROMIUM) --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
	  --hide-scrollbars --window-size=1280,1330 --screenshot="report/$$folder/index.png" "file://$(CURDIR)/report/$$folder/index.html" 2> /dev/null \
	  && echo "report/$$folder/index.png"
clean:               ## Caches and the reports of demo and smoke; never results/, runs/ (checkpoints) or data/
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info report/demo report/smoke report/demo+* report/smoke+*
	find reproduce paper_tables benchmarks tests -name __pycache__ -prune -exec rm -rf {} +

# ---- The artefacts: which are trained, and how ----

# fig1-cifar is fig1: what stands before the dash is the name in paper_tables/papers/.
artefact = $(firstword $(subst -, ,$@))
TRAINED := fig4 fig4-imagenet
CIFAR := table6 fig1 fig1-cifar fig6 fig6-cifar fig7 fig7-cifar
PRINTED := table1 table7 table8 table9 table10 table11 table12 table13 table14 fig2 fig3 fig3-architectures fig5

$(TRAINED): $(INSTALLED)
	$(call reproduce,$(PAPER) runs $(artefact),$(artefact))
ifdef WEIGHTS
V1 = $(patsubst %,torchvision-%-v1,$(1))
$(CIFAR): $(INSTALLED)
	$(call published,$(REPRODUCE) runs cifar10,single,$(artefact))
table3: $(INSTALLED)
	$(call published,echo $(call V1,resnet34 resnet50 resnet101 resnet152 vgg16),10-crop,table3)
table4: $(INSTALLED)
	$(call published,echo $(call V1,resnet34 resnet50 resnet101 resnet152),multi-scale,table4)
else
$(CIFAR): $(INSTALLED)
	$(call reproduce,$(PAPER) runs $(artefact),$(artefact),$(if $(filter fig7,$(artefact)),responses))
table3: $(INSTALLED)
	$(call reproduce,$(PAPER) runs table3,table3,evaluate:10-crop)
table4: $(INSTALLED)
	$(call reproduce,$(PAPER) runs table4,table4,evaluate:multi-scale)
endif
table2: $(INSTALLED)
	$(call reproduce,$(PAPER) runs table2,table2,evaluate:10-crop)
# The authors do not name the nets of their ensemble, beyond two of 152 layers: here those of Table 4.
table5: $(INSTALLED)
	$(call reproduce,$(PAPER) runs table4,table5,ensemble:multi-scale)
footnotes-imagenet: $(INSTALLED)
	$(call reproduce,echo imagenet-plain-34 imagenet-plain-34-3x imagenet-plain-50 imagenet-resnet-50,all,evaluate:10-crop)
footnotes-cifar: $(INSTALLED)
	$(call reproduce,echo cifar10-resnet-110 cifar10-resnet-110-no-warmup,all)
$(PRINTED): $(INSTALLED)
	@$(call render,$(artefact))

# The deep nets first: with their 20-layer twins after them, neither core waits.
demo: override PROFILE := demo
demo: JOBS ?= 2
demo: $(INSTALLED)
	$(call reproduce,echo cifar10-plain-56 cifar10-resnet-56 cifar10-plain-20 cifar10-resnet-20,all)

smoke: override PROFILE := smoke
smoke: SEEDS ?= 1
smoke: $(INSTALLED)
	@cifar=$$($(REPRODUCE) runs cifar10) && imagenet=$$($(REPRODUCE) runs imagenet) && several=$$($(PAPER) runs table4) && \
	$(REPRODUCE) train $$cifar $$imagenet $(OPTIONS) && \
	$(REPRODUCE) $(call measure,evaluate,$$cifar $$imagenet) && $(REPRODUCE) $(call measure,responses,$$cifar) && \
	$(foreach protocol,10-crop multi-scale,$(REPRODUCE) $(call measure,evaluate:$(protocol),$$imagenet) && ) \
	$(REPRODUCE) $(call measure,ensemble:multi-scale,$$several) && $(call render,all)

.PHONY: as-it-is architectures picture help demo doctor imagenet-prepare imagenet-shards check-data bench-data bench-imagenet bench-report bench-jobs bench-variants report check compare plan sanity status dashboard wandb-publish test test-all test-gpu test-reliability smoke bench clean footnotes-cifar footnotes-imagenet table2 table3 table4 table5 $(TRAINED) $(CIFAR) $(PRINTED)
