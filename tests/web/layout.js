// What is wrong with how a page is laid out: a list of sentences, empty where nothing is.
() => {
  const faults = [];
  const name = (each) => `${each.tagName.toLowerCase()}${each.id ? `#${each.id}` : ""}.${[...each.classList].join(".")} "${(each.innerText || each.value || each.getAttribute("aria-label") || "").slice(0, 40)}"`;
  const seen = (each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true }) && each.getClientRects().length > 0;
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) faults.push(`the page is ${root.scrollWidth} px wide in ${root.clientWidth}`);

  const all = [...document.body.querySelectorAll("*")].filter((each) => seen(each) && !each.closest(".visually-hidden, .skip, svg"));
  const scrollers = new Set(all.filter((each) => /auto|scroll/.test(getComputedStyle(each).overflowX)));
  const scrolls = (each) => {
    for (let above = each.parentElement; above; above = above.parentElement) if (scrollers.has(above)) return true;
    return false;
  };
  for (const each of all) {
    const style = getComputedStyle(each);
    const box = each.getBoundingClientRect();
    if (box.width && !scrolls(each) && (box.right > root.clientWidth + 1 || box.left < -1) && !each.closest(".stage, .card-picture")) faults.push(`outside the page: ${name(each)}`);
    // Text in a box that hides what does not fit; fields scroll by themselves, and two lines of a prompt are meant.
    const hides = /hidden|clip/.test(style.overflowX) || /hidden|clip/.test(style.overflowY);
    const text = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    const clamped = each.matches(".made-prompt");
    if (hides && text && !clamped && (each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1)) faults.push(`clipped: ${name(each)}`);
    if (each.matches("button, .button, summary, [role=tab]") && each.scrollWidth > each.clientWidth + 1) faults.push(`clipped: ${name(each)}`);
    if (each.matches("select") && each.selectedOptions[0]) {
      const pen = document.createElement("canvas").getContext("2d");
      pen.font = style.font;
      const room = each.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      if (pen.measureText(each.selectedOptions[0].label.trim()).width > room + 1) faults.push(`clipped: ${name(each)}`);
    }
  }

  // Controls that lie over each other, but for those that are made to: a slider on its waveform, a bar that floats.
  // Under an open dialog nothing can be reached.
  const scope = document.querySelector("dialog[open]") ?? document.body;
  const controls = all.filter((each) => scope.contains(each) && each.matches("a[href], button, input, select, textarea, summary") && !each.closest("[data-floating]"));
  const boxes = controls.map((each) => ({ each, box: each.getBoundingClientRect() }));
  for (const [index, one] of boxes.entries()) {
    for (const other of boxes.slice(index + 1)) {
      if (one.each.contains(other.each) || other.each.contains(one.each)) continue;
      const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (width > 1 && height > 1) faults.push(`${name(one.each)} lies over ${name(other.each)}`);
    }
  }
  // What floats must leave every control reachable: at its end the page shows the last one whole.
  const floating = document.querySelector("[data-floating]");
  if (floating && seen(floating) && scope === document.body) {
    const inside = floating.parentElement.querySelectorAll(".input button, .input input, .input select, .input textarea, .input summary");
    const last = [...inside].filter(seen).at(-1);
    if (last) {
      last.scrollIntoView({ block: "center", behavior: "instant" });
      const box = last.getBoundingClientRect();
      const top = floating.getBoundingClientRect().top;
      if (box.bottom > top + 1) faults.push(`${name(last)} stays under the bar that floats`);
      window.scrollTo({ top: 0, behavior: "instant" });
    }
  }
  return faults;
}
