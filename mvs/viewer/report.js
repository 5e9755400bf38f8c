"use strict";
// The surface of a report, to be turned around: plain WebGL, nothing from outside.
(() => {
  const page = document.documentElement;
  const box = document.getElementById("preview");
  if (!box) { page.dataset.preview = "none"; return; }
  const canvas = box.querySelector("canvas");
  const mode = document.getElementById("mode");
  const showCameras = document.getElementById("show-cameras");
  const legend = document.getElementById("legend");
  const packed = JSON.parse(document.getElementById("surface-data").textContent);
  const cameras = JSON.parse(document.getElementById("camera-data").textContent);
  const steps = packed.steps.map((text) => [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16)));
  const surface = unpack();
  const home = { yaw: 0.35, pitch: 0.08, distance: 4.6, target: [0, 0, 0] };
  const FOV = 0.5, LIMIT = 1.55;
  const farthest = Math.max(1, ...cameras.map((camera) => Math.hypot(...camera.center)));
  let eye = { ...home, target: [...home.target] };
  let gl = null, program = null, lines = null, chosen = -1, asked = false, checked = false;

  function unpack() {
    const text = atob(packed.data);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
    const n = packed.vertices, m = packed.faces;
    let at = 0;
    const take = (Type, count) => {
      const size = count * Type.BYTES_PER_ELEMENT;
      const column = new Type(bytes.slice(at, at + size).buffer);
      at += size;
      return column;
    };
    return {
      position: take(Uint16Array, 3 * n), corners: take(Uint16Array, 3 * m),
      normal: take(Int8Array, 3 * n), color: take(Uint8Array, 3 * n),
      coords: take(Uint8Array, 3 * n), confidence: take(Uint8Array, n),
      agree: take(Uint8Array, n), seen: take(Uint8Array, n),
    };
  }

  function giveUp(why) {
    box.hidden = true;
    document.getElementById("no-preview").hidden = false;
    document.querySelectorAll("[data-view]").forEach((button) => { button.hidden = true; });
    page.dataset.preview = "pictures: " + why;
  }

  function compile(vertex, fragment) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getProgramInfoLog(made) || "shaders");
    }
    return made;
  }

  function fill(target, data) {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made);
    gl.bufferData(target, data, gl.STATIC_DRAW);
    return made;
  }

  const VERTEX = `
    attribute vec3 position, normal, color;
    uniform mat4 projection, view;
    uniform float reach, size;
    varying vec3 tint, facing;
    void main() {
      tint = color;
      facing = mat3(view) * normal;
      gl_PointSize = size;
      gl_Position = projection * view * vec4((2.0 * position - 1.0) * reach, 1.0);
    }`;
  const FRAGMENT = `
    precision mediump float;
    uniform float lit;
    varying vec3 tint, facing;
    void main() {
      vec3 n = normalize(facing);
      float light = 0.3 + 0.7 * max(dot(n, normalize(vec3(0.25, 0.35, 0.9))), 0.0);
      float inside = gl_FrontFacing ? 1.0 : 0.42;
      gl_FragColor = vec4(tint * mix(1.0, light, lit) * inside, 1.0);
    }`;
  const LINE_VERTEX = `
    attribute vec3 place;
    attribute vec3 color;
    uniform mat4 projection, view;
    varying vec3 tint;
    void main() { tint = color; gl_Position = projection * view * vec4(place, 1.0); }`;
  const LINE_FRAGMENT = `
    precision mediump float;
    varying vec3 tint;
    void main() { gl_FragColor = vec4(tint, 1.0); }`;

  function setUp() {
    program = compile(VERTEX, FRAGMENT);
    lines = { program: compile(LINE_VERTEX, LINE_FRAGMENT) };
    surface.buffers = {
      position: fill(gl.ARRAY_BUFFER, surface.position),
      normal: fill(gl.ARRAY_BUFFER, surface.normal),
      corners: fill(gl.ELEMENT_ARRAY_BUFFER, surface.corners),
      color: gl.createBuffer(),
    };
    paint();
    drawCameras();
    gl.enable(gl.DEPTH_TEST);
  }

  function ramp(share) {
    const place = Math.min(Math.max(share, 0), 1) * (steps.length - 1);
    const low = Math.min(Math.floor(place), steps.length - 2);
    return [0, 1, 2].map((k) => steps[low][k] + (place - low) * (steps[low + 1][k] - steps[low][k]));
  }

  function tints() {
    const n = packed.vertices, out = new Uint8Array(3 * n);
    const each = (give) => {
      for (let v = 0; v < n; v++) {
        const rgb = give(v);
        out[3 * v] = rgb[0]; out[3 * v + 1] = rgb[1]; out[3 * v + 2] = rgb[2];
      }
      return out;
    };
    const table = Array.from({ length: 256 }, (_, k) => ramp(k / 255));
    const step = (count) => steps[Math.min(count, steps.length - 1)];
    switch (mode.value) {
      case "photo": return surface.color;
      case "cube": return surface.coords;
      case "confidence": return each((v) => table[surface.confidence[v]]);
      case "agree": return each((v) => step(surface.agree[v]));
      case "seen": return each((v) => step(surface.seen[v]));
      case "normal": return each((v) => [0, 1, 2].map((k) => 127.5 + surface.normal[3 * v + k]));
      default: return each(() => [205, 200, 194]);
    }
  }

  function paint() {
    gl.bindBuffer(gl.ARRAY_BUFFER, surface.buffers.color);
    gl.bufferData(gl.ARRAY_BUFFER, tints(), gl.STATIC_DRAW);
    legend.replaceChildren(...explain());
    ask();
  }

  function explain() {
    const word = (text) => Object.assign(document.createElement("span"), { textContent: text });
    switch (mode.value) {
      case "photo": return [word("Colours of the photographs")];
      case "shape": return [word("Plain clay, lit from the viewer's right")];
      case "normal": return [word("Red: the subject's left, green: up, blue: forward")];
      case "cube": return [word("Red: u, to the subject's left; green: v, up; blue: w, forward")];
      case "confidence": {
        const strip = Object.assign(document.createElement("span"), { className: "ramp" });
        return [word("Confidence 0"), strip, word("1")];
      }
      default: return steps.map((rgb, k) => {
        const made = word(k === steps.length - 1 ? k + " views and more" : String(k));
        const patch = document.createElement("i");
        patch.style.background = `rgb(${rgb.join(",")})`;
        made.prepend(patch);
        return made;
      });
    }
  }

  function drawCameras() {
    const places = [], colors = [];
    cameras.forEach((camera, index) => {
      const [right, down, ahead] = [0, 1, 2].map((k) => camera.axes.slice(3 * k, 3 * k + 3));
      const far = 0.12 * farthest;
      const corner = (x, y) => [0, 1, 2].map((k) => camera.center[k]
        + far * (x * camera.half[0] * right[k] + y * camera.half[1] * down[k] + ahead[k]));
      const ring = [corner(-1, -1), corner(1, -1), corner(1, 1), corner(-1, 1)];
      const tip = corner(0, -1.5);
      const parts = [];
      ring.forEach((end, k) => parts.push(camera.center, end, end, ring[(k + 1) % 4]));
      parts.push(ring[0], tip, ring[1], tip);
      const rgb = index === chosen ? [235, 110, 40] : [70, 140, 175];
      parts.forEach((place) => { places.push(...place); colors.push(...rgb); });
    });
    lines.count = places.length / 3;
    lines.places = fill(gl.ARRAY_BUFFER, new Float32Array(places));
    lines.colors = fill(gl.ARRAY_BUFFER, new Uint8Array(colors));
  }

  function bind(owner, name, buffer, type, whole) {
    const place = gl.getAttribLocation(owner, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, type, whole, 0, 0);
  }

  function axes() {
    const [sy, cy, sp, cp] = [Math.sin(eye.yaw), Math.cos(eye.yaw), Math.sin(eye.pitch), Math.cos(eye.pitch)];
    return { right: [cy, 0, -sy], up: [-sy * sp, cp, -cy * sp], back: [sy * cp, sp, cy * cp] };
  }

  function matrices() {
    const { right, up, back } = axes();
    const dot = (a) => a[0] * eye.target[0] + a[1] * eye.target[1] + a[2] * eye.target[2];
    const view = [
      right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
      -dot(right), -dot(up), -dot(back) - eye.distance, 1,
    ];
    const aspect = canvas.width / canvas.height;
    const narrow = Math.min(aspect, 1), f = 1 / Math.tan(FOV / 2);
    const near = 0.02 * eye.distance, far = eye.distance + 2 * farthest + 10;
    const projection = [
      (f * narrow) / aspect, 0, 0, 0, 0, f * narrow, 0, 0,
      0, 0, (far + near) / (near - far), -1, 0, 0, (2 * far * near) / (near - far), 0,
    ];
    return { view, projection };
  }

  function ask() {
    if (!asked) { asked = true; requestAnimationFrame(draw); }
  }

  function draw() {
    asked = false;
    if (!gl || gl.isContextLost()) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(Math.round(canvas.clientWidth * ratio), 1);
    const height = Math.max(Math.round(canvas.clientHeight * ratio), 1);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { view, projection } = matrices();
    gl.useProgram(program);
    const at = (name) => gl.getUniformLocation(program, name);
    gl.uniformMatrix4fv(at("view"), false, view);
    gl.uniformMatrix4fv(at("projection"), false, projection);
    gl.uniform1f(at("reach"), packed.reach);
    gl.uniform1f(at("size"), Math.max((0.012 * height) / eye.distance, 1.5));
    gl.uniform1f(at("lit"), { shape: 1, photo: 0.25, normal: 0 }[mode.value] ?? 0.3);
    bind(program, "position", surface.buffers.position, gl.UNSIGNED_SHORT, true);
    bind(program, "normal", surface.buffers.normal, gl.BYTE, true);
    bind(program, "color", surface.buffers.color, gl.UNSIGNED_BYTE, true);
    if (packed.faces) {
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, surface.buffers.corners);
      gl.drawElements(gl.TRIANGLES, 3 * packed.faces, gl.UNSIGNED_SHORT, 0);
    } else {
      gl.drawArrays(gl.POINTS, 0, packed.vertices);
    }
    if (!checked) check(width, height);
    if (showCameras.checked) {
      gl.useProgram(lines.program);
      gl.uniformMatrix4fv(gl.getUniformLocation(lines.program, "view"), false, view);
      gl.uniformMatrix4fv(gl.getUniformLocation(lines.program, "projection"), false, projection);
      bind(lines.program, "place", lines.places, gl.FLOAT, false);
      bind(lines.program, "color", lines.colors, gl.UNSIGNED_BYTE, true);
      gl.drawArrays(gl.LINES, 0, lines.count);
    }
  }

  // A broken driver draws nothing and says nothing: then the still pictures have to do.
  function check(width, height) {
    checked = true;
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let drawn = 0;
    for (let k = 3; k < pixels.length; k += 4) drawn += pixels[k] > 0;
    if (!drawn) { giveUp("nothing was drawn"); return; }
    page.dataset.preview = "drawn";
    page.dataset.share = (drawn / (width * height)).toFixed(3);
  }

  function turn(yaw, pitch) {
    eye.yaw += yaw;
    eye.pitch = Math.min(Math.max(eye.pitch + pitch, -LIMIT), LIMIT);
    ask();
  }

  function zoom(factor) {
    eye.distance = Math.min(Math.max(eye.distance * factor, 0.4), 12 * farthest);
    ask();
  }

  function move(x, y) {
    const { right, up } = axes(), scale = (2 * eye.distance * Math.tan(FOV / 2)) / canvas.clientHeight;
    for (let k = 0; k < 3; k++) eye.target[k] += scale * (y * up[k] - x * right[k]);
    ask();
  }

  function lookFrom(index) {
    const camera = cameras[index], { center } = camera;
    chosen = index;
    const length = Math.hypot(...center);
    eye.target = [0, 0, 0];
    eye.yaw = Math.atan2(center[0], center[2]);
    eye.pitch = Math.min(Math.max(Math.asin(center[1] / length), -LIMIT), LIMIT);
    eye.distance = home.distance;
    drawCameras();
    ask();
    canvas.focus({ preventScroll: true });
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    box.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  }

  function listen() {
    const fingers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const dx = event.clientX - before[0], dy = event.clientY - before[1];
      if (fingers.size === 2) {
        const [a, b] = [...fingers.values()];
        const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        const [c, d] = [...fingers.values()];
        zoom(apart / Math.max(Math.hypot(c[0] - d[0], c[1] - d[1]), 1));
        move(dx / 2, dy / 2);
      } else {
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        if (event.shiftKey || event.buttons === 2) move(dx, dy);
        else turn(-0.008 * dx, 0.008 * dy);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      // The page scrolls over a picture that nobody has clicked.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(0.0015 * event.deltaY));
    }, { passive: false });
    canvas.addEventListener("dblclick", reset);
    canvas.addEventListener("keydown", onKey);
    mode.addEventListener("change", paint);
    showCameras.addEventListener("change", () => {
      // Far enough away to see them all.
      if (showCameras.checked) eye.distance = Math.max(eye.distance, (1.1 * farthest) / Math.tan(FOV / 2));
      else if (eye.distance > home.distance) eye.distance = home.distance;
      ask();
    });
    document.querySelectorAll("[data-yaw]").forEach((button) => {
      button.addEventListener("click", () => {
        reset();
        eye.yaw = (Number(button.dataset.yaw) * Math.PI) / 180;
        eye.pitch = 0;
      });
    });
    document.querySelectorAll("[data-view]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => lookFrom(Number(button.dataset.view)));
    });
    new ResizeObserver(ask).observe(canvas);
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { setUp(); ask(); });
  }

  function reset() {
    eye = { ...home, target: [...home.target] };
    ask();
  }

  function onKey(event) {
    const sideways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = sideways[event.key];
    if (way && event.shiftKey) move(20 * way[0], 20 * way[1]);
    else if (way) turn(-0.1 * way[0], 0.1 * way[1]);
    else if (event.key === "+" || event.key === "=") zoom(0.88);
    else if (event.key === "-") zoom(1 / 0.88);
    else if (event.key === "0" || event.key === "Home") reset();
    else return;
    event.preventDefault();
  }

  try {
    gl = canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: false });
    if (!gl) { giveUp("no WebGL"); return; }
    box.hidden = false;
    document.getElementById("no-preview").hidden = true;
    setUp();
    listen();
  } catch (error) {
    giveUp(error.message);
  }
})();
