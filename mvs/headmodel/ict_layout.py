"""What ICT-FaceKit's documentation says of its one topology: parts and landmarks.

Source: the README of ICT-FaceKit (Li et al., 2020), MIT licence, Copyright (c) 2020 USC Institute
for Creative Technologies.
"""

from __future__ import annotations

N_VERTICES = 26_719
# Name in the documentation and first vertex; each ends where the next begins.
PARTS = (
    ("Face", 0),
    ("Head and Neck", 9409),
    ("Mouth socket", 11248),
    ("Eye socket left", 13294),
    ("Eye socket right", 13678),
    ("Gums and tongue", 14062),
    ("Teeth", 17039),
    ("Eyeball left", 21451),
    ("Eyeball right", 23021),
    ("Lacrimal fluid left", 24591),
    ("Lacrimal fluid right", 24795),
    ("Eye blend left", 24999),
    ("Eye blend right", 25023),
    ("Eye occlusion left", 25047),
    ("Eye occlusion right", 25199),
    ("Eyelashes left", 25351),
    ("Eyelashes right", 26035),
)
PART_NAMES = tuple(name for name, _ in PARTS)
# Overlays: nothing is seen of them or through them, so they take no part in rendering.
SHELLS = PART_NAMES[9:]
# Multi-PIE's 68 landmarks, as vertices.
# fmt: off
LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
    3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
    6207, 6470, 5517, 5966,
)
# fmt: on
# Names of the parts in a topology; what is neck is cut off face and head.
SHORT_NAMES = {
    "Face": "face",
    "Head and Neck": "head",
    "Mouth socket": "mouth_socket",
    "Eye socket left": "left_eye_socket",
    "Eye socket right": "right_eye_socket",
    "Gums and tongue": "gums",
    "Teeth": "teeth",
    "Eyeball left": "left_eye",
    "Eyeball right": "right_eye",
    "Lacrimal fluid left": "left_lacrimal",
    "Lacrimal fluid right": "right_lacrimal",
    "Eye blend left": "left_eye_blend",
    "Eye blend right": "right_eye_blend",
    "Eye occlusion left": "left_eye_occlusion",
    "Eye occlusion right": "right_eye_occlusion",
    "Eyelashes left": "left_eyelashes",
    "Eyelashes right": "right_eyelashes",
}
