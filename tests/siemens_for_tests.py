"""Siemens files, written to the layouts of their scan headers by code that shares nothing with the readers."""

import struct
from dataclasses import dataclass, field

import numpy as np

NOISE, PHASCOR, FEEDBACK, SYNC, END = 1 << 25, 1 << 21, 1 << 1, 1 << 5, 1
COUNTERS = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")

PROTOCOL = {
    "tSequenceFileName": '"%SiemensSeq%\\svs_se"',
    "sTXSPEC.asNucleusInfo[0].tNucleus": '"1H"',
    "sTXSPEC.asNucleusInfo[0].lFrequency": 123250000,
    "sRXSPEC.alDwellTime[0]": 250000,
    "alTE[0]": 30000,
    "alTR[0]": 2000000,
    "sSpecPara.sVoI.sPosition.dSag": 5.0,
    "sSpecPara.sVoI.sPosition.dCor": -7.0,
    "sSpecPara.sVoI.sPosition.dTra": 9.0,
    "sSpecPara.sVoI.sNormal.dTra": 1.0,
    "sSpecPara.sVoI.dThickness": 40.0,
    "sSpecPara.sVoI.dPhaseFOV": 30.0,
    "sSpecPara.sVoI.dReadoutFOV": 20.0,
}


@dataclass
class Shot:
    """One readout: samples of shape (coils, samples), flags, counters, and the centre column."""

    data: np.ndarray
    flags: int = 0
    counters: dict = field(default_factory=dict)
    centre: int = 0
    ice: tuple = ()
    ticks: int | None = None


def ascconv(protocol, is_xa):
    """The protocol as text: VB aligns with blanks, XA with tabs and says more in its first line."""
    equals = "\t = \t" if is_xa else "                 = "
    lines = [f"{key}{equals}{value}" for key, value in protocol.items()]
    said = (
        " object=MrProtDataImpl@MrProtocolData version=61310003 converter=%MEASCONST%/Prot.txt"
        if is_xa
        else ""
    )
    return f"### ASCCONV BEGIN{said} ###\n" + "\n".join(lines) + "\n### ASCCONV END ###\n"


def header(protocol, is_xa=False):
    """The header of a measurement: its length, number of parts, then name, length and text of each."""
    text = ascconv(protocol, is_xa).encode()
    dicom = (
        b'<XProtocol>\n{\n<ParamString."tPatientPosition"> { "HFS" }\n<ParamDouble."flReadoutOSFactor"> '
        b'{ <Precision> 6 2.0 }\n<ParamString."PatientName"> { "Doe" }\n}\n'
    )
    parts = b"".join(
        name + b"\0" + struct.pack("<I", len(body)) + body
        for name, body in ((b"Config", b"<XProtocol>\n"), (b"Dicom", dicom), (b"MeasYaps", text))
    )
    length = 8 + len(parts)
    padding = max(12288 - length, -length % 32)  # a VB file is known by a header of 10 000 bytes or more
    return struct.pack("<II", length + padding, 3) + parts + b"\0" * padding


def vb_readout(shot, number):
    coils, samples = shot.data.shape
    counters = [shot.counters.get(name, 0) for name in COUNTERS]
    blocks = []
    for coil, line in enumerate(shot.data):
        head = struct.pack("<IiIII", 128 + 8 * samples, 1, number, number * 4, 0)
        head += struct.pack("<Q", shot.flags) + struct.pack("<16H", samples, coils, *counters)
        head += struct.pack("<HHHH", 0, 0, shot.centre, 0) + struct.pack("<fI", 0.0, 0)
        head += b"\0" * (124 - len(head)) + struct.pack("<HH", coil, 0)
        blocks.append(head + line.astype("<c8").tobytes())
    return b"".join(blocks)


def vd_readout(shot, number):
    coils, samples = shot.data.shape
    counters = [shot.counters.get(name, 0) for name in COUNTERS]
    length = 192 + coils * (32 + 8 * samples)
    ticks = number * 4 if shot.ticks is None else shot.ticks
    head = struct.pack("<IiIII", length, 1, number, ticks, 0) + b"\0" * 20
    head += struct.pack("<Q", shot.flags) + struct.pack("<16H", samples, coils, *counters)
    head += struct.pack("<HHHH", 0, 0, shot.centre, 0)
    head += b"\0" * (128 - len(head)) + struct.pack("<24h", *shot.ice, *[0] * (24 - len(shot.ice)))
    head += b"\0" * (192 - len(head))
    lines = (
        struct.pack("<I", 32 + 8 * samples) + b"\0" * 28 + line.astype("<c8").tobytes() for line in shot.data
    )
    return head + b"".join(lines)


def sync_block(is_vd):
    """A block without samples that carries what the scanner measured beside them."""
    size = 192 if is_vd else 128
    head = (
        struct.pack("<IiIII", size + 64, 1, 0, 0, 0) + b"\0" * (20 if is_vd else 0) + struct.pack("<Q", SYNC)
    )
    return head + b"\0" * (size + 64 - len(head))


def end_block(is_vd):
    size = 192 if is_vd else 128
    head = struct.pack("<IiIII", size, 1, 0, 0, 0) + b"\0" * (20 if is_vd else 0) + struct.pack("<Q", END)
    return head + b"\0" * (size - len(head))


def write_vb(path, shots, protocol=PROTOCOL):
    body = b"".join(vb_readout(shot, n) for n, shot in enumerate(shots))
    path.write_bytes(header(protocol) + sync_block(False) + body + end_block(False))
    return path


def write_vd(path, measurements):
    """Write measurements, each (shots, protocol), behind the table of a VD file."""
    at, table, bodies = 10240, b"", []
    for number, (shots, protocol) in enumerate(measurements):
        body = header(protocol, is_xa=True) + sync_block(True)
        body += b"".join(vd_readout(shot, n) for n, shot in enumerate(shots)) + end_block(True)
        table += struct.pack("<IIQQ", 7, number, at, len(body)) + b"Somebody".ljust(128, b"\0")
        bodies.append(body + b"\0" * (-len(body) % 512))
        at += len(bodies[-1])
    start = struct.pack("<II", 0, len(measurements)) + table
    path.write_bytes(start.ljust(10240, b"\0") + b"".join(bodies))
    return path


def write_rda(path, fid, **changes):
    lines = {
        "PatientName": "Somebody", "TR": "2000.0", "TE": "30.0", "DwellTime": "500", "NumberOfAverages": "64.0",
        "MRFrequency": "123.25", "Nucleus": "1H", "VectorSize": str(fid.size), "CSIMatrixSize[0]": "1",
        "CSIMatrixSize[1]": "1", "CSIMatrixSize[2]": "1", "SequenceName": "*svs_se", "SliceThickness": "40,0",
        "VOIPositionSag": "5.0", "VOIPositionCor": "-7.0", "VOIPositionTra": "9.0", "PixelSpacingRow": "30.0",
        "PixelSpacingCol": "20.0", "RowVector[0]": "1.0", "RowVector[1]": "0", "RowVector[2]": "0",
        "ColumnVector[0]": "0", "ColumnVector[1]": "1", "ColumnVector[2]": "0",
    } | changes  # fmt: skip
    text = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
    head = f">>> Begin of header <<<\r\n{text}>>> End of header <<<\r\n".encode("latin-1")
    path.write_bytes(head + fid.astype("<c16").tobytes())
    return path


def csa_header(tags):
    """A CSA header of type 2 ("SV10"): tags of 84 bytes, each followed by items of 16 bytes and padded text."""
    out = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(tags), 77)
    for name, values in tags.items():
        items = [str(value).encode() + b"\0" for value in values]
        out += struct.pack(
            "<64si4siii",
            name.encode(),
            len(items),
            b"LO\0\0" if isinstance(values[0], str) else b"FD\0\0",
            0,
            len(items),
            77,
        )
        for item in items:
            out += struct.pack("<iiii", 0, len(item), 77, 0) + item + b"\0" * (-len(item) % 4)
    return out
