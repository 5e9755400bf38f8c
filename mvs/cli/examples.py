"""One or two examples of every command, as its help shows them; each is parsed in a test."""

EXAMPLES = {
    "reconstruct": (
        "mvs reconstruct data_samples/head --output out/head",
        "mvs reconstruct capture --output out --quality fast --texture --mesh.max-faces 50000",
    ),
    "embed": ("mvs embed capture --output maps",),
    "texture": ("mvs texture capture out --output out --size 2048",),
    "export": (
        "mvs export out --output head.glb",
        "mvs export out --output head.obj --up y --unit m",
    ),
    "report": ("mvs report out",),
    "view": ("mvs view out", "mvs view out --compare other/mesh.ply"),
    "calib photos": (
        "mvs calib photos photos --output capture",
        "mvs calib photos photos --output capture --intrinsics shared --lens OPENCV",
    ),
    "calib inspect": (
        "mvs calib inspect capture",
        "mvs calib inspect capture --json inspection.json --picture inspection.png",
    ),
    "calib convert": ("mvs calib convert capture --output other --to nerfstudio",),
    "calib scale": (
        "mvs calib scale capture --output metric --ipd 63",
        "mvs calib scale capture --output metric --aruco 4X4_50 --side 0.04",
    ),
    "calib adjust": ("mvs calib adjust capture --output adjusted",),
    "canonical show": ("mvs canonical show capture --output shown",),
    "canonical landmarks": (
        "mvs canonical landmarks portrait.jpg --output marks --overlay",
        "mvs canonical landmarks out/mesh.ply --output marks --layout named",
    ),
    "canonical query": (
        "mvs canonical query capture --output found --image 00.jpg --point 250 240",
    ),
    "canonical track": ("mvs canonical track video.mp4 --output tracked --point 250 240",),
    "canonical segment": ("mvs canonical segment capture --output regions --split",),
    "canonical warp": ("mvs canonical warp a.jpg b.jpg --output warped",),
    "canonical decal": (
        "mvs canonical decal portrait.jpg --output painted --texture star.png --at cheek_left",
    ),
    "canonical texture": ("mvs canonical texture capture --output unwrapped --mesh out/mesh.ply",),
    "canonical register": ("mvs canonical register out/mesh.ply --output registered --unit m",),
    "canonical correspond": ("mvs canonical correspond a/mesh.ply b/mesh.ply --output a_to_b.npz",),
    "fit image": ("mvs fit image portrait.jpg --model ict_facekit.npz --output fit",),
    "fit capture": (
        "mvs fit capture capture --model ict_facekit.npz --output fit",
        "mvs fit capture capture --model flame.pkl --output fit --reconstruction out/mesh.ply",
    ),
    "fit video": ("mvs fit video video.mp4 --model ict_facekit.npz --output fit --every 2",),
    "headmodel pack": ("mvs headmodel pack FaceXModel --output ict_facekit.npz",),
    "headmodel train": (
        "mvs headmodel train --head ict_facekit.npz --data portraits --output run",
    ),
    "headmodel show": ("mvs headmodel show ict_facekit.npz --picture modes.png",),
    "batch": (
        "mvs batch rig --images 'shot/{camera}/{frame:06d}.jpg' --output shot --quality fast",
        "mvs batch rig --videos 'shot/{camera}.mp4' --output shot --frames 0:100:2 --register",
    ),
    "batch plan": ("mvs batch plan shot --workers 1 16 128",),
    "batch export": ("mvs batch export shot --output face.usdc --smooth 5",),
    "evaluate reconstruction": (
        "mvs evaluate reconstruction data_samples/head out/head --json figures.json",
    ),
    "evaluate embedder": ("mvs evaluate embedder data_samples/head --sheet sheet.png",),
    "evaluate canonical": ("mvs evaluate canonical data_samples/head",),
    "evaluate warp": ("mvs evaluate warp data_samples/head --angles 15 30",),
    "evaluate fit": ("mvs evaluate fit fit --truth data_samples/head --unit m",),
    "evaluate sequence": ("mvs evaluate sequence shot --truth performance/gt",),
    "synthesize capture": (
        "mvs synthesize capture --head ict_facekit.npz --output capture --seed 3",
        "mvs synthesize capture --head ict_facekit.npz --output capture --person any",
    ),
    "synthesize sequence": ("mvs synthesize sequence --head ict_facekit.npz --output sequence",),
    "synthesize training": (
        "mvs synthesize training --head ict_facekit.npz --output shards --n-shards 2",
    ),
    "synthesize portraits": (
        "mvs synthesize portraits --head ict_facekit.npz --output portraits --n-shards 2",
    ),
    "synthesize fits": ("mvs synthesize fits --head ict_facekit.npz --output people",),
    "synthesize performance": (
        "mvs synthesize performance --head ict_facekit.npz --output performance",
    ),
    "tracks": ("mvs tracks video.mp4 --output pairs --every 2 --overlay pairs.png",),
    "train": ("mvs train --data shards --output run --preset quick",),
    "doctor": ("mvs doctor",),
    "config show": (
        "mvs config show reconstruct --quality best > mvs.toml",
        "mvs reconstruct capture --output out --config mvs.toml",
    ),
    "completion": (
        "mvs completion bash > ~/.local/share/bash-completion/completions/mvs",
        "mvs completion zsh > ~/.zfunc/_mvs    # with fpath+=~/.zfunc before compinit",
    ),
    "weights fetch": ("mvs weights fetch densemarks",),
    "weights mean": (
        "mvs weights mean a/compact.safetensors b/compact.safetensors --output ab.safetensors",
    ),
    "weights card": ("mvs weights card", "mvs weights card --network regressor"),
}
