"""Run a plan: many experiments, from sound files to the tables and figures of the study.

Usage:  CUDA_VISIBLE_DEVICES=0 python reproduce.py us8k
        python reproduce.py us8k gpus=0,1                            # a process per GPU; processes=2 on a CPU
        python reproduce.py esc10 methods=VGG,TIMBRE n_shots=1,5 folds=0 epochs=50
        python reproduce.py paper --dry-run
        python reproduce.py paper scheduler=tcp://host:8786
Reads:  index/<dataset>/ (scripts in aux/), the sound files, and the weights of pretrained networks that are there.
Writes: audio_representation/ where it is missing; under experiments/ what the scripts of the methods write, a row per run in
        results.tsv, reproduce_<plan>.tsv (state of every run of the last call), reproduce_<plan>.log, and report_<plan>/. Finished runs are
        skipped, so a plan can be interrupted, continued and extended. Processes, of this command and of others that are started
        beside it, share its runs.
"""
import functools
import shlex
import sys
from pathlib import Path

import cluster
import plans
import processes
import reporting
import runner
from configuration import configuration_from_command_line
from results import results_so_far
from shared import run_script


def main():
    config = configuration_from_command_line(__doc__, 'config_reproduce', more_keys=plans.method_keys(),
                                             dry_run='list the runs of the plan, which are done, and how long the others will take')
    processes.environments(config)  # keys that exclude each other are refused before hours of work
    plan = plans.Plan(config)
    if config['scheduler'] and not config.get('dry_run'):
        with cluster.connect(config['scheduler']) as client:  # check it now, hours before it may be needed
            print(f'{len(client.nthreads())} Dask worker(s) at {config["scheduler"]}')
    refused = {} if config.get('dry_run') else plan.make_representations()
    jobs, results = plan.jobs(), results_so_far()
    times, pending = plans.Times(results), plans.without_result(jobs, results)
    print(plan.describe(jobs), *plan.notes, sep='\n  ')
    print(f'  {len(jobs) - len(pending)} runs are done' + (f', {len(pending)} to do: {times.describe(pending)}' if pending else ''))
    if config.get('dry_run'):
        print('\n'.join(f'{job}: {"to do: " + times.describe([job]) if job in pending else "done"}' for job in jobs))
        return
    failed = runner.run(plan, jobs, pending, after_round=functools.partial(report, plan, jobs, quiet=True))
    report(plan, jobs)
    for job, message in failed.items():
        print(f'failed: {job}: {message}')
    if failed or refused:
        sys.exit(f'\n{len(failed)} of {len(jobs)} runs failed, {len(refused)} sound files were refused, see above. All others '
                 f'are done; the same command tries the failed ones again')


def report(plan, jobs, quiet=False):
    """Write the plan's report if there are results."""
    rows = plans.rows_of(jobs, results_so_far())
    if not rows.empty:
        reporting.write(rows, plan.report, plan.missing, quiet, f'cd src && python {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}')


if __name__ == '__main__':
    run_script(main)
