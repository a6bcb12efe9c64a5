//! Identification against known verdicts and numbers: every case of the data files, and small
//! random graphs against definitions written out by brute force. The evaluator and the random
//! models here share no code with the lab.

#[cfg(test)]
mod identify {
    mod brute;
    mod cases;
    mod estimand;
    mod facts;
    mod implied;
    mod random;
    mod requests;
    mod timing;
}
