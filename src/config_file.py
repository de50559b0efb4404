"""All options: one dictionary per experiment. Copy an entry, rename it, edit it.

Every key can also be set for one run on the command line: `python sl_train.py spec dataset=us8k fold=3 n_shot=5`.
**NAME inserts the keys that several entries share; a key that follows it overrides them.
{dataset} and {fold} in paths stand for the values of those keys. Paths are relative to DATA_FOLDER, or absolute.
"""
DATA_FOLDER = None                                    # where everything is written; None: data/ of this repository. The
                                                      # environment variable DATA_FOLDER wins over this

DATASET = 'asc'                                       # 'us8k', 'asc', 'esc10', 'esc50', 'demo' or the name you gave to
                                                      # your own recordings (aux/index_folder.py)
FOLD = 0                                              # fold of the data set: 0 for TUT Acoustic Scenes 2017 (asc), 0-9 for
                                                      # UrbanSound8K (us8k), 0-4 for ESC-10 and ESC-50
N_SHOT = 100                                          # training clips per class; a number or 'all'
RUNS = 1                                              # runs of an experiment, each with its own draw of clips
SEED = 0                                              # one seed on one machine: the same draws, weights, results

VGGISH_CHECKPOINT = 'vggish_model.ckpt'               # weights of pretrained networks; relative to src/ (aux/download.py
YAMNET_CHECKPOINT = 'yamnet.h5'                       # puts them there), or absolute
MN04_CHECKPOINT = 'mn04_as_mAP_432.pt'
MN10_CHECKPOINT = 'mn10_as_mAP_471.pt'

# ---- preprocess.py: sound files -> audio representations -------------------------------------------------------------

REPRESENTATION = {                                    # what all types have in common
    'identifier': '{dataset}',                        # audio_representation/<identifier>__<type>/ is the folder
    'dataset': DATASET,                               # name of the data set
    'index_file': 'index/{dataset}/index_{dataset}_folds_all.tsv',
    'audio_folder': None,                             # folder of the sound files; None: the one that aux/ indexed
    'convert_id': False,                              # True: name the arrays after clip ids; False: after sound files
    'n_machines': 1,                                  # number of machines that share the work
    'machine_i': 0,                                   # number of this machine: 0 to n_machines - 1
    'num_processing_units': 'all',                    # processes on this machine; number or 'all'
    'scheduler': None,                                # address of a Dask scheduler: its workers do the work
    'overwrite': False,                               # True: replace arrays made with other parameters
}

SPECTROGRAM = {
    **REPRESENTATION,
    'type': 'time-freq',                              # 'time-freq' (spectrogram) or 'waveform' (samples)
    'spectrogram_type': 'mel',                        # 'mel' (power), 'cqt' (magnitude) or 'stft' (magnitude)
    'resample_sr': 44100,                             # sample rate that all files are converted to; Hz
    'resampler': 'soxr_hq',                           # a resampler of librosa ('soxr_hq', 'kaiser_best' and others), or
                                                      # 'kaiser_2018', the study's filter, which is slow
    'hop': 1024,                                      # hop length; samples
    'n_fft': 1024,                                    # FFT size of mel and stft; samples
    'n_mels': 128,                                    # bands of mel
    'cqt_bins': 84,                                   # bins of cqt, 12 per octave from C1 (32.7 Hz)
}

AUDIOSET = {                                          # examples for VGGish, 0.96 s each; all else is as the network was
    **REPRESENTATION,                                 # trained: vggish_params.py
    'type': 'audioset',
    'resampler': 'kaiser_2018',                       # the study's filter, the default of resampy until 0.3; slow. 'kaiser_best', the
                                                      # default of today, attenuates the highest band more. 'soxr' is close to
                                                      # the study's filter, and over 20 times faster: see docs/vggish.md
    'skip_silence': False,                            # True: leave out silent examples
}

YAMNET = {                                            # patches for YAMNet, 0.96 s each, every 0.48 s: yamnet_input.py
    **REPRESENTATION,
    'type': 'yamnet',
    'resampler': 'soxr_hq',
    'skip_silence': True,                             # leave out silent patches: see mel_features.sounding
}

MOBILENET = {                                         # log-mel of whole clips for mn04 and mn10: mobilenet_input.py
    **REPRESENTATION,
    'type': 'mobilenet',
    'resampler': 'soxr_hq',
    'level': None,                                    # every clip is first scaled to this root mean square, in dB of full
                                                      # scale; None: levels stay as they are
}

config_preprocess = {
    'spec': {**SPECTROGRAM},                          # any data set: python preprocess.py spec dataset=<name>
    'us8k_spec': {**SPECTROGRAM, 'dataset': 'us8k'},
    'asc_spec': {**SPECTROGRAM, 'dataset': 'asc'},
    'esc10_spec': {**SPECTROGRAM, 'dataset': 'esc10'},
    'esc50_spec': {**SPECTROGRAM, 'dataset': 'esc50'},
    'demo_spec': {**SPECTROGRAM, 'dataset': 'demo'},
    'audioset': {**AUDIOSET},                         # any data set: python preprocess.py audioset dataset=<name>
    'us8k_audioset': {**AUDIOSET, 'dataset': 'us8k'},
    'asc_audioset': {**AUDIOSET, 'dataset': 'asc'},
    'esc10_audioset': {**AUDIOSET, 'dataset': 'esc10'},
    'esc50_audioset': {**AUDIOSET, 'dataset': 'esc50'},
    'yamnet': {**YAMNET},
    'us8k_yamnet': {**YAMNET, 'dataset': 'us8k'},
    'asc_yamnet': {**YAMNET, 'dataset': 'asc'},
    'esc10_yamnet': {**YAMNET, 'dataset': 'esc10'},
    'esc50_yamnet': {**YAMNET, 'dataset': 'esc50'},
    'mn04': {**MOBILENET},                            # mn10 reads the same arrays
    'mn10': {**MOBILENET},
    'us8k_mn04': {**MOBILENET, 'dataset': 'us8k'},
    'asc_mn04': {**MOBILENET, 'dataset': 'asc'},
    'esc10_mn04': {**MOBILENET, 'dataset': 'esc10'},
    'esc50_mn04': {**MOBILENET, 'dataset': 'esc50'},
    'us8k_mn10': {**MOBILENET, 'dataset': 'us8k'},
    'asc_mn10': {**MOBILENET, 'dataset': 'asc'},
    'esc10_mn10': {**MOBILENET, 'dataset': 'esc10'},
    'esc50_mn10': {**MOBILENET, 'dataset': 'esc50'},
}

# ---- keys that experiments share -------------------------------------------------------------------------------------

DATA = {
    'dataset': DATASET,                               # name of the data set
    'fold': FOLD,                                     # fold of the data set
    # ground truth: tables of ids and labels
    'gt_train': 'index/{dataset}/gt_{dataset}_fold{fold}_train.tsv',
    'gt_test': 'index/{dataset}/gt_{dataset}_fold{fold}_test.tsv',
    'num_classes_dataset': None,                      # None: as many as the data set's index names
    'skip_missing': False,                            # True: continue without clips that preprocess.py refused
    'allow_fewer': False,                             # True: if a class has fewer than n_shot training clips, take all of them
}

RUNS_OF_NETWORKS = {
    'n_shot': N_SHOT,                                 # a number or 'all'
    'num_experiment_runs': RUNS,                      # runs, each with its own draw of clips
    'seed': SEED,                                     # seed of all random numbers
    'resume': True,                                   # continue an unfinished experiment of the same configuration
}

EPISODES = {                                          # training of prototypical networks
    'distance': 'euclidean',                          # 'euclidean' (squared, mean over dimensions) or 'cosine'
    'max_patches_per_class': 5,                       # patches per class in the query set of an update, which is drawn
                                                      # again for each update; a number or 'all' (about 50 MB of memory per patch)
    'patches_per_prototype': 5,                       # patches per class in the support set, which is drawn once per run: at
                                                      # most one of each clip; a number or 'all' (one of each clip)
    'learning_rate': 0.1,                             # of gradient descent
    'max_epochs': None,                               # None: max_accuracy alone ends the training
    'max_accuracy': 200,                              # patience: training stops after more than this many epochs, counted over the
                                                      # whole run, without a new best accuracy on the training clips
}

# ---- sl_train.py, sl_evaluate.py: regularised CNNs -------------------------------------------------------------------

config_sl = {
    'spec': {
        # which data?
        **DATA,
        'audio_representation_folder': 'audio_representation/{dataset}__time-freq/',
        'gt_val': None,                               # None: the last weights are kept; a path: the best on that part

        # input
        'n_frames': 128,                              # frames of a patch
        'pre_processing': 'logEPS',                   # 'logEPS': log10(x + 2.2e-16); 'log10000': log10(10000 x + 1);
                                                      # None: no compression (for models 11-14)
        'normalize': None,                            # None, 'train' (mean and std of the whole training part) or
                                                      # 'chosen' (of the chosen clips alone)
        'pad_short': 'repeat-pad',                    # clips below n_frames: 'repeat-pad' repeats them, 'zero-pad' adds
                                                      # zeros on both sides
        'train_sampling': 'random',                   # 'random': patches at random positions; 'overlap_sampling': all patches at
                                                      # a fixed hop
        'param_train_sampling': 1,                    # random: patches per clip and epoch; overlap_sampling: hop in frames

        # learning
        'model_number': 3,                            # 0 SB-CNN, 1 SB-CNN BN, 2 TIMBRE, 3 VGG; 11, 12, 13: models 1, 2, 3 with
                                                      # log-learn; 14: VGG with 128 filters and log-learn
        'load_model': None,                           # start from the weights of this model folder; None: random
        'epochs': 200,                                # epoch 1 does not train: 200 epochs are 199 epochs of training
        'batch_size': 256,                            # patches per update
        'learning_rate': 0.1,                         # of gradient descent
        'weight_decay': 0.001,                        # factor of the L2 loss of all kernels; None: no such term
        'optimizer': 'SGD_clip',                      # 'SGD_clip': gradients clipped to global norm 5.0
        'statistics_passes': 0,                       # 0: networks are evaluated with the moving averages of batch normalisation, as in
                                                      # the study; above 0: with averages over so many passes of training patches
                                                      # (30 in spec_plus)

        # experiment
        **RUNS_OF_NETWORKS,

        # evaluation
        'val_batch_size': 256,                        # patches
        'test_batch_size': 128,                       # patches
        'val_hop': 1,                                 # a clip is scored on its patches at this hop; frames
        'test_hop': 1,                                # as val_hop
        'sliding': True,                              # True: all patches from one pass over a clip, where that is faster;
                                                      # False: patch by patch. The same scores, up to rounding
    },
}
config_sl['spec_val'] = {                             # as spec, but keeps the weights that are best on the validation part
                                                      # (UrbanSound8K has one; index_folder.py --val-fraction makes one)
    **config_sl['spec'],
    'gt_val': 'index/{dataset}/gt_{dataset}_fold{fold}_val.tsv',
}
config_sl['spec_plus'] = {                            # better than the study's settings: see docs/from_scratch.md
    **config_sl['spec'],
    'statistics_passes': 30,
}

# ---- proto.py: prototypical networks ---------------------------------------------------------------------------------

config_proto = {
    'spec': {
        # which data?
        **DATA,
        'audio_representation_folder': 'audio_representation/{dataset}__time-freq/',

        # input
        'n_frames': 128,                              # frames of a patch
        'pre_processing': 'logEPS',                   # 'logEPS': log10(x + 2.2e-16); 'log10000': log10(10000 x + 1);
                                                      # None: no compression (for model 12)
        'normalize': None,                            # None, 'train' or 'chosen', as in config_sl
        'pad_short': 'repeat-pad',                    # clips below n_frames: 'repeat-pad' repeats them, 'zero-pad' adds
                                                      # zeros on both sides
        'train_sampling': 'overlap_sampling',         # 'overlap_sampling': all patches at a fixed hop; 'random': patches at
                                                      # random positions
        'param_train_sampling': 42,                   # overlap_sampling: hop in frames (42 frames: about 1 s); random: patches per
                                                      # clip, drawn once

        # learning
        'model_number': 2,                            # 2, or 12: the same with log-learn; see models_proto.py
        'filters': 128,                               # of each convolution; the study's 128. 32 trains about 7 times faster
        'load_model': None,                           # start from the weights of this model folder; None: random
        **EPISODES,
        'optimizer': 'SGD_clip',                      # 'SGD_clip': gradients clipped to global norm 5.0
        'statistics_passes': 0,                       # 0: networks are evaluated with the moving averages of batch normalisation, as in
                                                      # the study; 1: with averages over so many passes of training patches

        # experiment
        **RUNS_OF_NETWORKS,

        # evaluation
        'test_batch_size': 128,                       # patches
        'test_hop': 42,                               # a clip is scored on its patches at this hop; frames
        'projection': 'pca',                          # embeddings.png: 'pca' or 'tsne'
    },
}

config_proto['spec_plus'] = {                         # better than the study's settings: see docs/from_scratch.md
    **config_proto['spec'],
    'statistics_passes': 1,
}

# ---- transfer_train.py, transfer_evaluate.py: networks trained on AudioSet, fine-tuned -------------------------------

config_transfer = {
    'audioset': {
        # which data?
        **DATA,
        'audio_representation_folder': 'audio_representation/{dataset}__audioset/',
        'gt_val': None,                               # None: the last weights are kept; a path: the best on that part
        'train_sampling': 'random',                   # 'random' or 'overlap_sampling'
        'param_train_sampling': 1,                    # random: examples per clip and epoch; overlap_sampling: hop; examples

        # learning
        'network': 'vggish',                          # pretrained network: see pretrained.py
        'checkpoint': VGGISH_CHECKPOINT,              # its weights; None: random weights
        'epochs': 200,                                # epoch 1 does not train: 200 epochs are 199 epochs of training
        'batch_size': 128,                            # examples per update
        'learning_rate': 0.1,                         # of the new layer
        'weight_decay': None,                         # factor of the L2 loss of the new layer's kernel; None: no such term
        'optimizer': 'many_lr_audioset',              # 'many_lr_audioset': a smaller rate for the pretrained network;
                                                      # 'SGD_clip': one rate, gradients clipped to global norm 5.0
        'pretrained_factor': 0.0001,                  # many_lr_audioset: the network learns with learning_rate x this

        # experiment
        **RUNS_OF_NETWORKS,
        'save_weights': True,                         # 289 MB per run of VGGish; transfer_evaluate.py needs them. False: evaluate right
                                                      # after training, keep the last layer and the results

        # evaluation
        'val_batch_size': 256,                        # examples
        'test_batch_size': 32,                        # examples
        'val_hop': 1,                                 # a clip is scored on its examples at this hop; examples
        'test_hop': 1,                                # as val_hop
    },
}
config_transfer['audioset_val'] = {                   # as audioset, but keeps the weights that are best on the validation part
    **config_transfer['audioset'],
    'gt_val': 'index/{dataset}/gt_{dataset}_fold{fold}_val.tsv',
}
config_transfer['yamnet'] = {
    **config_transfer['audioset'],
    'audio_representation_folder': 'audio_representation/{dataset}__yamnet/',
    'network': 'yamnet',
    'checkpoint': YAMNET_CHECKPOINT,
    'epochs': 41,
    'batch_size': 16,
    'learning_rate': 0.01,
    'pretrained_factor': 0.0003,                      # with larger ones the network is worse than frozen; from 0.1 on, training diverges
}
config_transfer['mn04'] = {
    **config_transfer['audioset'],
    'audio_representation_folder': 'audio_representation/{dataset}__mobilenet/',
    'network': 'mn04',
    'checkpoint': MN04_CHECKPOINT,
    'embedding_layer': 'embedding',                   # 'embedding', or 'hidden': the hidden layer of the network's own head
    'n_frames': 500,                                  # frames of a patch, 5 s
    'epochs': 16,
    'batch_size': 16,                                 # patches
    'learning_rate': 0.5,
    'pretrained_factor': 0.005,
    'val_hop': 250,                                   # frames
    'test_hop': 250,
}
config_transfer['mn10'] = {**config_transfer['mn04'], 'network': 'mn10', 'checkpoint': MN10_CHECKPOINT}

# ---- transfer_proto.py: prototypical networks on pretrained networks -------------------------------------------------

config_transfer_proto = {
    'audioset': {
        # which data?
        **DATA,
        'audio_representation_folder': 'audio_representation/{dataset}__audioset/',
        'train_sampling': 'overlap_sampling',         # 'overlap_sampling' or 'random'
        'param_train_sampling': 1,                    # overlap_sampling: hop; examples. random: examples per clip, drawn once

        # learning
        'network': 'vggish',                          # pretrained network: see pretrained.py
        'checkpoint': VGGISH_CHECKPOINT,              # its weights; None: random weights
        **EPISODES,
        'optimizer': 'many_lr_audioset',              # 'many_lr_audioset' or 'SGD_clip', as in config_transfer
        'pretrained_factor': 0.0001,                  # as in config_transfer

        # experiment
        **RUNS_OF_NETWORKS,
        'save_weights': False,                        # True: 289 MB per run of VGGish. The results do not need them

        # evaluation
        'test_batch_size': 64,                        # examples
        'test_hop': 1,                                # a clip is scored on its examples at this hop; examples
        'projection': 'pca',                          # embeddings.png: 'pca' or 'tsne'
    },
}

config_transfer_proto['yamnet'] = {
    **config_transfer_proto['audioset'],
    'audio_representation_folder': 'audio_representation/{dataset}__yamnet/',
    'network': 'yamnet',
    'checkpoint': YAMNET_CHECKPOINT,
}
config_transfer_proto['mn04'] = {
    **config_transfer_proto['audioset'],
    'audio_representation_folder': 'audio_representation/{dataset}__mobilenet/',
    'network': 'mn04',
    'checkpoint': MN04_CHECKPOINT,
    'embedding_layer': 'embedding',                   # or 'hidden'
    'n_frames': 500,                                  # frames of a patch, 5 s
    'param_train_sampling': 250,                      # hop; frames
    'test_hop': 250,
}
config_transfer_proto['mn10'] = {**config_transfer_proto['mn04'], 'network': 'mn10', 'checkpoint': MN10_CHECKPOINT}

# ---- knn_audioset.py: nearest neighbour over embeddings of a pretrained network --------------------------------------

EMBEDDED = {                                          # what knn_audioset.py and frozen.py have in common
    # which data?
    **DATA,
    'audio_representation_folder': 'audio_representation/{dataset}__audioset/',

    # features
    'network': 'vggish',                              # pretrained network: see pretrained.py
    'checkpoint': VGGISH_CHECKPOINT,                  # its weights
    'test_batch_size': 64,                            # examples that are embedded at once

    # experiment
    'n_shot': N_SHOT,                                 # a number or 'all'
    'seed': SEED,
}
EMBEDDED_YAMNET = {
    **EMBEDDED,
    'audio_representation_folder': 'audio_representation/{dataset}__yamnet/',
    'network': 'yamnet',
    'checkpoint': YAMNET_CHECKPOINT,
}
EMBEDDED_MN04 = {
    **EMBEDDED,
    'audio_representation_folder': 'audio_representation/{dataset}__mobilenet/',
    'network': 'mn04',
    'checkpoint': MN04_CHECKPOINT,
    'embedding_layer': 'embedding',                   # 'embedding', or 'hidden': the hidden layer of the network's own head
    'test_batch_size': 8,                             # windows of up to 10 s that are embedded at once
}
EMBEDDED_MN10 = {**EMBEDDED_MN04, 'network': 'mn10', 'checkpoint': MN10_CHECKPOINT}

NEAREST = {
    'metric': 'cosine',                               # 'cosine' or 'euclidean'
    'num_experiment_runs': 20,                        # runs, each with its own draw of clips
}
config_knn_audioset = {
    'audioset': {**EMBEDDED, **NEAREST},
    'yamnet': {**EMBEDDED_YAMNET, **NEAREST},
    'mn04': {**EMBEDDED_MN04, **NEAREST},
    'mn10': {**EMBEDDED_MN10, **NEAREST},
}

# ---- frozen.py: classifiers on the embeddings of a pretrained network that does not learn ----------------------------

FROZEN = {
    'classifier': 'class_mean',                       # 'class_mean' (cosine) or 'logistic_regression'
    'C': 1.0,                                         # logistic_regression: inverse of the regularisation
    'num_experiment_runs': 5,                         # runs, each with its own draw of clips
}
config_frozen = {
    'audioset': {**EMBEDDED, **FROZEN},
    'yamnet': {**EMBEDDED_YAMNET, **FROZEN},
    'mn04': {**EMBEDDED_MN04, **FROZEN},
    'mn10': {**EMBEDDED_MN10, **FROZEN},
}

# ---- knn_mfcc.py: nearest neighbour over MFCC statistics -------------------------------------------------------------

config_knn_mfcc = {
    'mfcc': {
        # which data?
        **DATA,
        'identifier': '{dataset}',                    # audio_representation/<identifier>__mfcc/ keeps the features
        'index_file': 'index/{dataset}/index_{dataset}_folds_all.tsv',

        # features
        'audio_folder': None,                         # None: the folder that the script in aux/ indexed
        'num_processing_units': 'all',                # processes; number or 'all'
        'overwrite': False,                           # True: replace features made with other parameters
        'resample_sr': 12000,                         # Hz
        'resampler': 'soxr_hq',
        'MFCC_number': 20,                            # coefficients

        # classifier
        'metric': 'cosine',                           # 'cosine' or 'euclidean'

        # experiment
        'n_shot': N_SHOT,
        'num_experiment_runs': 5,
        'seed': SEED,
    },
}

# ---- reproduce.py, report.py: plans of many experiments --------------------------------------------------------------

config_methods = {                                    # name in plans: dictionary and entry above, and keys that differ
    'knn_mfcc': ('config_knn_mfcc', 'mfcc', {}),
    'SB-CNN': ('config_sl', 'spec', {'model_number': 0}),
    'SB-CNN BN': ('config_sl', 'spec', {'model_number': 1}),
    'TIMBRE': ('config_sl', 'spec', {'model_number': 2}),
    'VGG': ('config_sl', 'spec', {'model_number': 3}),
    'log-learn SB-CNN BN': ('config_sl', 'spec', {'model_number': 11, 'pre_processing': None}),
    'log-learn TIMBRE': ('config_sl', 'spec', {'model_number': 12, 'pre_processing': None}),
    'log-learn VGG': ('config_sl', 'spec', {'model_number': 13, 'pre_processing': None}),
    'log-learn VGG-128': ('config_sl', 'spec', {'model_number': 14, 'pre_processing': None}),
    **{f'{name}, validated': ('config_sl', 'spec_val', {'model_number': number}) for name, number in (
        ('SB-CNN BN', 1), ('TIMBRE', 2), ('VGG', 3))},
    'log-learn VGG, validated': ('config_sl', 'spec_val', {'model_number': 13, 'pre_processing': None}),
    **{f'{name}, new statistics': ('config_sl', 'spec_plus', {'model_number': number}) for name, number in (
        ('SB-CNN BN', 1), ('TIMBRE', 2), ('VGG', 3))},
    'log-learn VGG, new statistics': ('config_sl', 'spec_plus', {'model_number': 13, 'pre_processing': None}),
    'proto': ('config_proto', 'spec', {}),
    'proto, new statistics': ('config_proto', 'spec_plus', {}),
    'log-learn proto': ('config_proto', 'spec', {'model_number': 12, 'pre_processing': None}),
    'knn_audioset': ('config_knn_audioset', 'audioset', {}),
    'transfer': ('config_transfer', 'audioset', {'save_weights': False}),
    'transfer, validated': ('config_transfer', 'audioset_val', {'save_weights': False}),
    'transfer proto': ('config_transfer_proto', 'audioset', {}),
    **{f'{network} {name}': (group, network, keys) for network in ('mn04', 'mn10', 'yamnet') for name, group, keys in (
        ('class mean', 'config_frozen', {'classifier': 'class_mean'}),
        ('logistic regression', 'config_frozen', {'classifier': 'logistic_regression'}),
        ('nearest', 'config_knn_audioset', {}),
        ('transfer', 'config_transfer', {'save_weights': False}),
        ('transfer proto', 'config_transfer_proto', {}))},
}

config_reproduce = {                                  # further keys are set in every method that has them
    'paper': {                                        # all methods, those of later networks too, on the study's data sets
        'datasets': ['us8k', 'asc'],
        'folds': 'all',                               # a list, or 'all' folds of the data set
        'n_shots': [1, 2, 5, 10, 20, 50, 100],        # training clips per class; numbers above the smallest class are left out
        'methods': list(config_methods),
        'num_experiment_runs': 5,                     # per fold, each with its own draw of clips
        'seed': SEED,
        'skip_missing': False,                        # True: continue without clips that preprocess.py refused
        'gpus': None,                                 # numbers of GPUs, e.g. 0,1: one process per GPU, which share the runs;
                                                      # None: one process
        'processes': 1,                               # number of processes that share the runs on a CPU
        'scheduler': None,                            # address of a Dask scheduler, tcp://host:8786; None: this machine
    },
}
config_reproduce['us8k'] = {**config_reproduce['paper'], 'datasets': ['us8k']}
config_reproduce['asc'] = {**config_reproduce['paper'], 'datasets': ['asc']}
config_reproduce['esc10'] = {                         # small enough for a CPU
    **config_reproduce['paper'],
    'datasets': ['esc10'],
    'n_shots': [1, 2, 5, 10, 20],
    'methods': ['knn_mfcc', 'SB-CNN BN', 'TIMBRE', 'VGG', 'log-learn VGG', 'proto', 'knn_audioset', 'transfer', 'transfer proto',
                'mn04 class mean', 'mn04 logistic regression', 'mn04 nearest', 'mn04 transfer', 'mn04 transfer proto',
                'yamnet class mean', 'yamnet logistic regression', 'yamnet nearest', 'yamnet transfer'],
    'num_experiment_runs': 1,
    'max_accuracy': 10,                               # patience of prototypical networks; 200 in the study
}
config_reproduce['from_scratch'] = {                  # the study's evaluation and a better one: see docs/from_scratch.md
    **config_reproduce['esc10'],
    'methods': [name + more for name in ('VGG', 'SB-CNN BN', 'TIMBRE', 'log-learn VGG', 'proto') for more in ('', ', new statistics')],
    'num_experiment_runs': 2,
}
config_reproduce['own'] = {                           # your own recordings: python reproduce.py own datasets=<name>
    **config_reproduce['paper'],
    'datasets': ['own'],
    'n_shots': [1, 2, 5, 10, 'all'],                  # up to so many of each class
    'methods': ['knn_mfcc', 'mn04 class mean', 'mn04 logistic regression', 'mn04 transfer', 'TIMBRE'],
    'num_experiment_runs': 1,                         # every clip is tested once; aux/index_folder.py --repeats tests it more often
    'allow_fewer': True,
    'skip_missing': True,
}
config_reproduce['demo'] = {                          # `make demo`: fewer and smaller updates, to save time
    **config_reproduce['paper'],
    'datasets': ['demo'],
    'n_shots': [1, 2, 5, 10],
    'methods': ['knn_mfcc', 'SB-CNN BN', 'TIMBRE', 'proto', 'mn04 class mean'],
    'num_experiment_runs': 3,
    'skip_missing': True,
    'epochs': 60,
    'batch_size': 16,
    'filters': 16,                                    # of the prototypical networks, which have 128 in the study
    'max_accuracy': 5,
}
