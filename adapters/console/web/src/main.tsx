// The entry of the console.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style/base.css';
import './style/frame.css';
import './style/explore.css';
import './style/event.css';
import './style/pages.css';
import { App } from './app';

const root = document.getElementById('console');
if (root) render(<App />, root);
