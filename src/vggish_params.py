"""Constants of VGGish, under the names that its users know (Hershey et al. 2017, arXiv 1609.09430; AudioSet release)."""

# waveform -> log-mel examples: the trained weights expect exactly these
SAMPLE_RATE = 16000                 # Hz
STFT_WINDOW_LENGTH_SECONDS = 0.025
STFT_HOP_LENGTH_SECONDS = 0.010
NUM_MEL_BINS = 64
MEL_MIN_HZ = 125
MEL_MAX_HZ = 7500
LOG_OFFSET = 0.01                   # ln(mel + this)
EXAMPLE_WINDOW_SECONDS = 0.96       # an example; they do not overlap

# shape of an example
NUM_FRAMES = round(EXAMPLE_WINDOW_SECONDS / STFT_HOP_LENGTH_SECONDS)  # 96
NUM_BANDS = NUM_MEL_BINS

# network
EMBEDDING_SIZE = 128
INIT_STDDEV = 0.01                  # of initial weights
