"""The library of pulse sequences: protocols in, Pulseq files out."""
