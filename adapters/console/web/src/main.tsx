// The entry of the console.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style/base.css';
import './style/frame.css';
import './style/explore.css';
import './style/event.css';
import './style/pages.css';
import './style/phone.css';
import { App } from './app';
import { loadParts } from './parts';
import { learn } from './session/session';

// The frame of index.html is what is painted first; it stays until the page knows who it is for.
const root = document.getElementById('console');
void loadParts();
void learn().then(() => {
  root?.replaceChildren();
  if (root) render(<App />, root);
});
