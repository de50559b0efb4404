"""Carry out a plan: many experiments, from sound files to the tables and figures of the study.

Usage:  CUDA_VISIBLE_DEVICES=0 python reproduce.py us8k
        python reproduce.py esc10 methods=VGG,TIMBRE n_shots=1,5 folds=0 epochs=50
        python reproduce.py paper --dry-run
        python reproduce.py paper scheduler=tcp://host:8786
Reads:  index/<dataset>/ (scripts in aux/), the sound files, and vggish_model.ckpt where there is one.
Writes: audio_representation/ where it is missing; under experiments/ what the scripts of the methods write, a row per run in
        results.tsv, reproduce_<plan>.tsv (state of every run), reproduce_<plan>.log, and report_<plan>/. All that is done is
        skipped, so a plan can be interrupted, continued and extended.
"""
import functools
import sys

import cluster
import plans
import reports
import runner
from experiment import configuration_from_command_line
from shared import run_script


def main():
    config = configuration_from_command_line(__doc__, 'config_reproduce', more_keys=plans.method_keys(),
                                             dry_run='list the runs of the plan, what is done, and what the rest will take')
    plan = plans.Plan(config)
    if config['scheduler'] and not config.get('dry_run'):
        with cluster.connect(config['scheduler']) as client:  # now, because there may be hours before it is needed
            print(f'{len(client.nthreads())} Dask worker(s) at {config["scheduler"]}')
    refused = {} if config.get('dry_run') else plan.make_representations()
    jobs, results = plan.jobs(), plans.results()
    costs, pending = plans.Costs(results), plans.without_result(jobs, results)
    print(plan.describe(jobs), *plan.notes, sep='\n  ')
    print(f'  {len(jobs) - len(pending)} runs are done' + (f', {len(pending)} to do: {costs.describe(pending)}' if pending else ''))
    if config.get('dry_run'):
        print('\n'.join(f'{job}: {"to do: " + costs.describe([job]) if job in pending else "done"}' for job in jobs))
        return
    failed = runner.carry_out(plan, jobs, pending, after_round=functools.partial(report, plan, jobs, quiet=True))
    report(plan, jobs)
    for job, message in failed.items():
        print(f'failed: {job}: {message}')
    if failed or refused:
        sys.exit(f'\n{len(failed)} of {len(jobs)} runs failed, {len(refused)} sound files were refused, see above. All else '
                 f'is done; the same command tries again what failed')


def report(plan, jobs, quiet=False):
    """Write the plan's report, as soon as there is something to report."""
    rows = plans.rows_of(jobs, plans.results())
    if not rows.empty:
        reports.write(rows, plan.name, plan.missing, quiet)


if __name__ == '__main__':
    run_script(main)
