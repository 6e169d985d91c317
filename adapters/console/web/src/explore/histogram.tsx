// Events by time and level, as stacked bars. Dragging selects a range of time.
//
// Severe levels are at the bottom and at least two pixels high, so that one error among millions is seen.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { LogStats } from '../api/client';
import { LEVELS, type Level } from '../api/levels';
import { dark, zone } from '../state/settings';
import { grouped, short } from '../text/numbers';
import { full, tick } from '../text/time';

/** From the bottom to the top. */
const STACK: readonly Level[] = [...LEVELS].reverse();
const HEIGHT_PX = 104;
const SEVERE: readonly Level[] = ['FATAL', 'ERROR', 'WARN'];

interface HistogramProps {
  stats: LogStats;
  /** Asked for when a person selects a range, in RFC 3339. */
  onRange: (from: string, to: string) => void;
}

export function Histogram({ stats, onRange }: HistogramProps) {
  const place = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const range = useRef(onRange);
  range.current = onRange;
  const isDark = dark.value;
  const shownZone = zone.value;

  useEffect(() => {
    const element = place.current;
    if (!element || !tip.current) return;
    const plot = new uPlot(options(element, tip.current, stats, (from, to) => range.current(from, to)), series(stats), element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [stats, isDark, shownZone]);

  const total = Object.values(stats.total).reduce((sum, count) => sum + count, 0);
  return (
    <div class="histogram" role="img" aria-label={`${grouped(total)} events by time: ${LEVELS.map((level) => `${grouped(stats.total[level] ?? 0)} ${level}`).join(', ')}`}>
      <div class="histogram-plot" ref={place} />
      <div class="histogram-tip" ref={tip} hidden />
    </div>
  );
}

const seconds = (text: string) => Date.parse(text) / 1000;

/** Times, and one row of counts, which only give the scale: the bars are drawn from the statistics. */
function series(stats: LogStats): uPlot.AlignedData {
  return [stats.buckets.map((bucket) => seconds(bucket.start)), stats.buckets.map(sum)];
}

function sum(bucket: LogStats['buckets'][number]): number {
  return Object.values(bucket.counts).reduce((all, count) => all + count, 0);
}

function colours(element: Element): Record<string, string> {
  const style = getComputedStyle(element);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return { ...Object.fromEntries(LEVELS.map((level) => [level, read(`--bar-${level.toLowerCase()}`)])), grid: read('--line'), text: read('--muted'), font: read('--font-ui') };
}

function options(element: HTMLElement, tip: HTMLElement, stats: LogStats, onRange: HistogramProps['onRange']): uPlot.Options {
  const colour = colours(element);
  const from = seconds(stats.from);
  const to = Math.max(seconds(stats.to), from + 1);
  // Not that of uPlot: it leaves out a first bucket that begins before the range.
  const highest = Math.max(1, ...stats.buckets.map(sum));
  const axis = { stroke: colour.text ?? '', font: `11px ${colour.font}`, grid: { stroke: colour.grid ?? '', width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT_PX,
    padding: [8, 22, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
    scales: {
      x: { time: true, range: [from, to] },
      y: { range: [0, highest * 1.05] },
    },
    axes: [
      { ...axis, size: 22, gap: 4, space: 90, grid: { show: false }, values: (_plot, ticks, _index, _space, step) => ticks.map((at) => tick(at, step, zone.value)) },
      { ...axis, size: 48, gap: 6, space: 30, values: (_plot, ticks) => ticks.map((count) => (Number.isInteger(count) ? short(count) : '')) },
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [(plot) => drawBars(plot, stats, colour)],
      setCursor: [(plot) => showTip(plot, tip, stats)],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const at = (pixels: number) => new Date(Math.round(plot.posToVal(pixels, 'x') * 1000)).toISOString();
          const selected: [string, string] = [at(plot.select.left), at(plot.select.left + plot.select.width)];
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          onRange(...selected);
        },
      ],
    },
  };
}

function drawBars(plot: uPlot, stats: LogStats, colour: Record<string, string>): void {
  const context = plot.ctx;
  const { left, top, width, height } = plot.bbox;
  const ratio = devicePixelRatio;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  for (const bucket of stats.buckets) {
    const start = seconds(bucket.start);
    const x = Math.round(plot.valToPos(start, 'x', true));
    const end = Math.round(plot.valToPos(start + stats.intervalSeconds, 'x', true));
    const gap = end - x > 4 * ratio ? Math.round(ratio) : 0;
    let base = plot.valToPos(0, 'y', true);
    for (const level of STACK) {
      const count = bucket.counts[level] ?? 0;
      if (count === 0) continue;
      const exact = plot.valToPos(0, 'y', true) - plot.valToPos(count, 'y', true);
      const size = Math.max(exact, SEVERE.includes(level) ? 2 * ratio : 0.5 * ratio);
      context.fillStyle = colour[level] ?? '';
      context.fillRect(x, base - size, Math.max(ratio, end - x - gap), size);
      base -= size;
    }
  }
  context.restore();
}

function showTip(plot: uPlot, tip: HTMLElement, stats: LogStats): void {
  const { left } = plot.cursor;
  const at = left === undefined || left < 0 ? undefined : plot.posToVal(left, 'x');
  const bucket = at === undefined ? undefined : stats.buckets.find((one) => seconds(one.start) <= at && at < seconds(one.start) + stats.intervalSeconds);
  tip.hidden = bucket === undefined;
  if (!bucket || left === undefined) return;
  const counts = LEVELS.filter((level) => (bucket.counts[level] ?? 0) > 0).reverse();
  const lines = counts.map((level) => {
    const line = document.createElement('span');
    line.className = `tip-count level-${level}`;
    line.textContent = `${level} ${grouped(bucket.counts[level] ?? 0)}`;
    return line;
  });
  const title = document.createElement('span');
  title.className = 'tip-time';
  title.textContent = full(bucket.start, zone.value);
  tip.replaceChildren(title, ...(lines.length > 0 ? lines : ['no events']));
  const space = plot.over.clientWidth;
  tip.style.left = `${Math.min(left + plot.over.offsetLeft + 12, space - 110)}px`;
}
