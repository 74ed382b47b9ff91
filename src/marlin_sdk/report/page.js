"use strict";
document.documentElement.classList.add("scripted");

(function filterVideos() {
  const query = document.getElementById("query");
  const status = document.getElementById("status");
  const videos = [...document.querySelectorAll(".video")];
  function apply() {
    const text = query.value.trim().toLowerCase();
    let count = 0;
    for (const video of videos) {
      const fits = (!status.value || video.dataset.status === status.value) && video.dataset.name.includes(text);
      video.hidden = !fits;
      count += fits;
    }
    document.getElementById("matching").textContent = count === videos.length ? "" : `${count} of ${videos.length}`;
    document.getElementById("none").hidden = count > 0;
  }
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  query.addEventListener("input", apply);
  status.addEventListener("input", apply);
  // a link to a video that the filter hides must still lead to it
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      query.value = status.value = "";
      apply();
      target.scrollIntoView();
    }
  });
})();

(function exploreMap() {
  const plot = document.getElementById("plot");
  if (!plot) return;
  const { videos, points, colourings } = JSON.parse(document.getElementById("data").textContent);
  const circles = [...plot.querySelectorAll("g circle")];
  const places = circles.map((circle) => [circle.cx.baseVal.value, circle.cy.baseVal.value]);
  const svg = plot.querySelector("svg");
  const tip = document.getElementById("tip");
  const ring = document.getElementById("ring");
  const spoken = document.getElementById("spoken");
  let current = -1;
  let pinned = false;

  function mark(video) {
    plot.classList.toggle("choosing", video !== null);
    for (const group of plot.querySelectorAll("g")) group.classList.toggle("chosen", group.dataset.v === String(video));
  }
  function nearestCrop(video, time, track) {
    const images = [...document.querySelectorAll(`#v${video} .strip img`)];
    const apart = (image) => Math.abs(image.dataset.t - time) + (Number(image.dataset.track) === track ? 0 : 1e9);
    return images.reduce((best, image) => (best === null || apart(image) < apart(best) ? image : best), null);
  }
  function words(index) {
    const [video, start, end, track] = points[index];
    const face = track < 0 ? "" : `, face ${track}`;
    return [videos[video], `${start.toFixed(1)} – ${end.toFixed(1)} s${face}`];
  }
  function show(index, aloud) {
    current = index;
    const [video, start, , track] = points[index];
    const [name, detail] = words(index);
    tip.replaceChildren();
    const crop = nearestCrop(video, start, track);
    if (crop) {
      const image = new Image();
      image.src = crop.src;
      image.alt = "";
      tip.append(image);
    }
    const text = document.createElement("div");
    const title = document.createElement("b");
    title.append(Object.assign(document.createElement("bdi"), { textContent: name }));
    text.append(title, detail);
    tip.append(text);
    const [x, y] = places[index];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    ring.setAttribute("visibility", "visible");
    tip.hidden = false;
    const box = plot.getBoundingClientRect();
    const spot = circles[index].getBoundingClientRect();
    const left = spot.left + spot.width / 2 - box.left - tip.offsetWidth / 2;
    const above = spot.top - box.top - tip.offsetHeight - 14;
    const top = above >= 4 ? above : spot.bottom - box.top + 14;
    tip.style.left = `${Math.max(4, Math.min(left, plot.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(top, plot.clientHeight - tip.offsetHeight - 4))}px`;
    mark(video);
    if (aloud) spoken.textContent = `${name}, ${detail}`;
  }
  function clear() {
    current = -1;
    pinned = false;
    tip.hidden = true;
    ring.setAttribute("visibility", "hidden");
    mark(null);
  }
  function nearest(event) {
    const box = svg.getBoundingClientRect();
    const view = svg.viewBox.baseVal;
    const scale = view.width / box.width;
    const x = (event.clientX - box.left) * scale + view.x;
    const y = (event.clientY - box.top) * scale + view.y;
    let best = -1;
    let least = (24 * scale) ** 2;
    places.forEach(([px, py], index) => {
      const apart = (px - x) ** 2 + (py - y) ** 2;
      if (apart < least) [best, least] = [index, apart];
    });
    return best;
  }
  function goTo(index) {
    const video = document.getElementById(`v${points[index][0]}`);
    location.hash = video.id;
    video.focus();
  }
  function step(by) {
    const next = current < 0 ? 0 : (current + by + points.length) % points.length;
    show(next, true);
  }
  function stepVideo(by) {
    if (current < 0) return step(0);
    let next = current;
    const leave = (video) => { while (points[next] && points[next][0] === video) next += by; };
    leave(points[current][0]);
    if (!points[next]) next = by > 0 ? 0 : points.length - 1;
    const video = points[next][0];
    while (points[next - 1] && points[next - 1][0] === video) next -= 1;
    show(next, true);
  }
  const select = document.getElementById("colour");
  function colour() {
    const chosen = colourings[select.value];
    const legend = document.getElementById("values");
    legend.replaceChildren();
    const byValue = new Map();
    for (const group of plot.querySelectorAll("g")) {
      group.dataset.hue ??= group.style.getPropertyValue("--h");
      const value = chosen?.of[group.dataset.v];
      group.classList.toggle("unlabelled", Boolean(chosen) && value === undefined);
      group.style.setProperty("--h", chosen && value !== undefined ? chosen.hues[value] : group.dataset.hue);
      byValue.set(value, [...(byValue.get(value) ?? []), group]);
    }
    document.getElementById("meaning").textContent = chosen ? `those of ${chosen.label}` : "those of the videos";
    document.getElementById("videos-colours").hidden = Boolean(chosen);
    for (const [index, name] of (chosen?.values ?? []).entries()) {
      const item = document.createElement("li");
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      swatch.style.setProperty("--h", chosen.hues[index]);
      swatch.setAttribute("aria-hidden", "true");
      const count = Object.assign(document.createElement("b"), { textContent: chosen.counts[index] });
      item.append(swatch, " ", Object.assign(document.createElement("bdi"), { textContent: name }), " ", count);
      item.addEventListener("pointerenter", () => {
        plot.classList.add("choosing");
        for (const group of byValue.get(index) ?? []) group.classList.add("chosen");
      });
      item.addEventListener("pointerleave", () => mark(null));
      legend.append(item);
    }
  }
  select?.addEventListener("input", colour);
  const keys = {
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    ArrowDown: () => stepVideo(1),
    ArrowUp: () => stepVideo(-1),
    Home: () => show(0, true),
    End: () => show(points.length - 1, true),
    Escape: clear,
    Enter: () => current >= 0 && goTo(current),
  };
  plot.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && current < 0 && show(0, true));
  plot.addEventListener("blur", clear);
  plot.addEventListener("pointermove", (event) => {
    if (pinned) return;
    const index = nearest(event);
    if (index >= 0) show(index, false);
    else if (current >= 0) clear();
  });
  plot.addEventListener("pointerleave", () => pinned || clear());
  plot.addEventListener("click", (event) => {
    const index = nearest(event);
    if (index < 0) return clear();
    show(index, true);
    pinned = true;
    return undefined;
  });
  plot.addEventListener("dblclick", () => current >= 0 && goTo(current));
  for (const link of document.querySelectorAll(".colours a")) {
    for (const kind of ["pointerenter", "focus"]) link.addEventListener(kind, () => mark(link.dataset.v));
    for (const kind of ["pointerleave", "blur"]) link.addEventListener(kind, () => mark(null));
  }
})();
