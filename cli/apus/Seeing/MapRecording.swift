// SPDX-License-Identifier: Apache-2.0
// MapRecording.swift: maps of one machine taken one after the other, as one page with a slider for the time.

/// A recording: each sample is drawn when it is taken, so that nothing else has to be kept.
struct MapRecording {
  let title: String
  var colors = OwnerColors()
  private var drawings: [(milliseconds: Int, drawing: String)] = []

  init(title: String) { self.title = title }

  var count: Int { drawings.count }

  /// Adds a map.
  ///
  /// One that looks like the one before is not kept twice.
  mutating func add(_ map: MachineMap, milliseconds: Int, names: [UInt16: String]) {
    colors.see(map)
    let drawing = MapDrawing(map: map, colors: colors, title: title, names: names).text
    drawings.append((milliseconds, drawings.last?.drawing == drawing ? "" : drawing))
  }

  /// A page of its own: the pictures, a slider, and a script of a dozen lines that shows one of them.
  var page: String {
    var parts = [
      """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"><title>\(MapDrawing.escaped(title))</title>
      <style>
      body { font-family: sans-serif; margin: 16px; }
      #time { width: 640px; vertical-align: middle; }
      .sample { display: none; }
      .sample.shown { display: block; }
      </style></head><body>
      <p><button id="play">play</button>
      <input id="time" type="range" min="0" max="\(max(0, drawings.count - 1))" value="0">
      <output id="when"></output></p>
      """
    ]
    for (index, sample) in drawings.enumerated() where !sample.drawing.isEmpty {
      parts.append(
        "<div class=\"sample\(index == 0 ? " shown" : "")\" data-index=\"\(index)\">\n\(sample.drawing)</div>")
    }
    let times = drawings.map { "\($0.milliseconds)" }.joined(separator: ",")
    parts.append(
      """
      <script>
      const times = [\(times)];
      const samples = Array.from(document.querySelectorAll(".sample"));
      const slider = document.getElementById("time");
      const when = document.getElementById("when");
      function show() {
        const now = Number(slider.value);
        let chosen = samples[0];
        for (const sample of samples) if (Number(sample.dataset.index) <= now) chosen = sample;
        for (const sample of samples) sample.classList.toggle("shown", sample === chosen);
        when.textContent = (times[now] / 1000).toFixed(2) + " s, " + (now + 1) + " of " + times.length;
      }
      let timer = null;
      document.getElementById("play").onclick = function () {
        if (timer !== null) { clearInterval(timer); timer = null; this.textContent = "play"; return; }
        this.textContent = "stop";
        if (Number(slider.value) >= times.length - 1) slider.value = 0;
        timer = setInterval(() => {
          if (Number(slider.value) >= times.length - 1) { document.getElementById("play").click(); return; }
          slider.value = Number(slider.value) + 1;
          show();
        }, 200);
      };
      slider.oninput = show;
      show();
      </script></body></html>

      """)
    return parts.joined(separator: "\n")
  }
}
